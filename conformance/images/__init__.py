"""The images that the kit uploads, and the comparison of their results."""
