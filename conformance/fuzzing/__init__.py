"""Generated requests: Schemathesis over the contract, and state machines."""
