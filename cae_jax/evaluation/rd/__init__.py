"""Rate-distortion curves, BD-rates between them, and published curves."""
