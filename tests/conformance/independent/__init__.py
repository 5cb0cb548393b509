"""A second server that keeps the contract: small, in memory, and with nothing of Uprez in it.

The kit asks for the contract and not for Uprez: this server shows that. Each of its mutants breaks one thing.
"""
