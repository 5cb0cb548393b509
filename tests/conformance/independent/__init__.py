"""A second implementation of the contract: small, in memory, and independent of Uprez.

It proves that the kit tests the contract and not Uprez. Each mutant is this server with one fault.
"""
