"""HTTP mechanics: everything between the socket and an operation function, in both directions."""
