"""The paper's figures 5 to 8 and rate-distortion curves, to be shown or saved; no global state."""

from cae_jax.evaluation.figures.charts import curves, psnr_per_image, rate_distortion
from cae_jax.evaluation.figures.drawing import save
from cae_jax.evaluation.figures.images import methods_on_images, reconstructions

__all__ = [
  "curves",
  "methods_on_images",
  "psnr_per_image",
  "rate_distortion",
  "reconstructions",
  "save",
]
