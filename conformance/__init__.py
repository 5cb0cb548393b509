"""The conformance kit: a black box that knows a base URL, tokens and the contract, nothing of the server."""
