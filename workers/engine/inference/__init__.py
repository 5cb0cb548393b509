"""Networks on devices: models, weights, tiles, self-test. This package does not know files of images."""
