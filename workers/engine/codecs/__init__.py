"""Image files in and out: decode, encode, metadata. Knows nothing of networks."""
