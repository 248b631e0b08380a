"""How far a decoded picture is from its original: docs/metrics.md says what each figure means."""

from cae_jax.images.metrics.similarity import MS_SSIM_MIN_SIDE, ms_ssim
from cae_jax.images.metrics.squared import (
  MseSplit,
  mse,
  mse_split,
  psnr_db,
  psnr_from_mse,
  psnr_y_db,
)
from cae_jax.images.metrics.ssimulacra import SSIMULACRA2_MIN_SIDE, ssimulacra2

__all__ = [
  "MS_SSIM_MIN_SIDE",
  "SSIMULACRA2_MIN_SIDE",
  "MseSplit",
  "ms_ssim",
  "mse",
  "mse_split",
  "psnr_db",
  "psnr_from_mse",
  "psnr_y_db",
  "ssimulacra2",
]
