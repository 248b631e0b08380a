"""Image files <-> arrays: what the rest of the package, and its users, take from these modules."""

from cae_jax.images.pixels import ImageError, check_pixels, to_rgb
from cae_jax.images.reading import ImageFile, read_image, read_rgb, upright_size
from cae_jax.images.writing import FORMATS, encode_image, write_image

__all__ = [
  "FORMATS",
  "ImageError",
  "ImageFile",
  "check_pixels",
  "encode_image",
  "read_image",
  "read_rgb",
  "to_rgb",
  "upright_size",
  "write_image",
]
