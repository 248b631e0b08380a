"""What lmbda weighs against the rate: distortions of images, all on about the scale of an MSE."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from cae_jax.images.metrics import ms_ssim, ssimulacra2

# Distortion [B], and figures [B] by name that training and validation report beside it.
Measured = tuple[jax.Array, dict[str, jax.Array]]
# Measures decoded images against their originals: float32 [B, H, W, 3] each, in 0 to 255.
Measure = Callable[[jax.Array, jax.Array], Measured]

# (100 - score)^power / scale is close to the MSE of photographs from 0.05 to 1.3 bits a pixel.
_SCORE_POWER, _SCORE_SCALE = 5 / 3, 24.0
_MS_SSIM_SCALE = 1280.0  # what CompressAI's lambdas for MSE and for MS-SSIM differ by


def mean_square(error: jax.Array) -> jax.Array:
  """Averages squares over all but the first axis: [B, H, W, C] -> [B]."""
  return jnp.mean(jnp.square(error), axis=(1, 2, 3))


def measure_mse(rgb: jax.Array, decoded: jax.Array) -> Measured:
  """Measures the mean squared error, on the scale of 0 to 255."""
  return mean_square(decoded - rgb), {}


def measure_ms_ssim(rgb: jax.Array, decoded: jax.Array) -> Measured:
  """Measures 1 - MS-SSIM, on about the scale of the MSE.

  Raises:
    ValueError: the images are too small for it.
  """
  value = ms_ssim(rgb, decoded)
  return _MS_SSIM_SCALE * (1 - value), {"ms_ssim": value}


def measure_for_the_eye(rgb: jax.Array, decoded: jax.Array, *, share: float) -> Measured:
  """Mixes the MSE and SSIMULACRA2, both as errors on the scale of the MSE.

  The score knows what people see, and where an error is masked; the MSE keeps what scores do not
  see from drifting, as sums of many weak terms can be played on.

  Args:
    rgb, decoded: see `Measure`.
    share: of SSIMULACRA2, 0 to 1.
  Returns:
    The mixture, and {"ssimulacra2"}.
  """
  score = ssimulacra2(rgb, decoded, recursive=False)
  of_score = (100 - score) ** _SCORE_POWER / _SCORE_SCALE
  return (1 - share) * mean_square(decoded - rgb) + share * of_score, {"ssimulacra2": score}


DISTORTIONS: Mapping[str, Callable[..., Measured]] = {
  "mse": measure_mse,
  "ms_ssim": measure_ms_ssim,
  "eye": measure_for_the_eye,
}


@functools.cache  # equal choices are one measure
def choose(name: str, eye_share: float = 0.5) -> Measure:
  """Returns a distortion by its name in `DISTORTIONS`; `eye_share` is that of "eye"."""
  measure = DISTORTIONS[name]
  return functools.partial(measure, share=eye_share) if name == "eye" else measure
