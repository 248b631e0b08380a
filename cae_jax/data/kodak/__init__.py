"""TFDS builder of the Kodak test set."""
