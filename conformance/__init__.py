"""The conformance kit: it tests a server as a black box through its base URL, tokens and the contract."""
