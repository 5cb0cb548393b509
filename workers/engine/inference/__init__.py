"""Networks on devices: models, weights, tiles, self-test. Knows nothing of files."""
