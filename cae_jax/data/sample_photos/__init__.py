"""TFDS builder of the photographs in scikit-image's wheel."""
