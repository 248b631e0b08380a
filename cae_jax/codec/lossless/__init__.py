"""Lossless and near-lossless files: samples, tiles of them, and the codec around both."""
