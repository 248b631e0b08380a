"""The paper's figures 5 to 8 and rate-distortion curves, to be shown or saved; no global state."""

from cae_jax.evaluation.figures.charts import psnr_per_image, rate_distortion, training_curves
from cae_jax.evaluation.figures.drawing import save
from cae_jax.evaluation.figures.images import methods_on_images, reconstructions
from cae_jax.evaluation.figures.lossless import bits_per_sub_pixel, image_by_image, near_lossless

__all__ = [
  "bits_per_sub_pixel",
  "image_by_image",
  "methods_on_images",
  "near_lossless",
  "psnr_per_image",
  "rate_distortion",
  "reconstructions",
  "save",
  "training_curves",
]
