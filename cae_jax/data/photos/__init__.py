"""TFDS builder of a folder of photographs."""
