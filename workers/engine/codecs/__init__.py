"""Image files: decode, encode, metadata. This package does not know the networks."""
