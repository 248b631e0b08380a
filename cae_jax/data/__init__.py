"""TFDS builders, image sources and the patch pipeline."""
