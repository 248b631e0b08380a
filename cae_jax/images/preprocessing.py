"""From 8-bit RGB to what the paper's network sees, and back."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.color import rgb_to_ycbcr, ycbcr_to_rgb

DCT_BLOCK = 8


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """A pair of inverse maps.

  Attributes:
    forward: [..., H, W, 3] RGB on the 0-255 scale (any dtype) -> float32, normalised to [0, 1].
    inverse: the way back to float32 RGB on the 0-255 scale, neither rounded nor clipped.
    multiple: H and W have to be multiples of this.
  """

  forward: Callable[[jax.Array], jax.Array]
  inverse: Callable[[jax.Array], jax.Array]
  multiple: int = 1


def block_dct(x: jax.Array, block: int = DCT_BLOCK) -> jax.Array:
  """Takes the orthonormal DCT-II of every block x block square, coefficients in pixels' places.

  Args:
    x: [..., H, W, C] float, H and W multiples of `block`.
  Returns:
    Same shape. For x in [0, 1], the DC coefficient lies in [0, block] and all others in
    [-block/2, block/2].
  """
  return _blockwise(x, dct_matrix(block))


def block_idct(x: jax.Array, block: int = DCT_BLOCK) -> jax.Array:
  """Undoes `block_dct`."""
  return _blockwise(x, dct_matrix(block).T)


def dct_matrix(block: int) -> np.ndarray:
  """Returns the orthonormal DCT-II, [frequency, position] float64."""
  frequency, position = np.mgrid[:block, :block]
  basis = np.cos(np.pi * (2 * position + 1) * frequency / (2 * block)) * np.sqrt(2 / block)
  basis[0] /= np.sqrt(2)
  return basis


def _blockwise(x, matrix):
  matrix = matrix.astype(np.float32)
  *batch, height, width, channels = x.shape
  block = len(matrix)
  if height % block or width % block:
    raise ValueError(
      f"expected height and width to be multiples of {block}, got {height}x{width}; "
      "pad with cae_jax.images.tiling.pad_to_multiple first"
    )
  x = x.reshape(*batch, height // block, block, width // block, block, channels)
  x = jnp.einsum("ij,kl,...ajblc->...aibkc", matrix, matrix, x, precision="highest")
  return x.reshape(*batch, height, width, channels)


def _dc_mask(height: int, width: int) -> np.ndarray:
  """[H, W, 1], 1 where a block's DC coefficient stands."""
  mask = np.zeros((height, width, 1), np.float32)
  mask[::DCT_BLOCK, ::DCT_BLOCK] = 1
  return mask


def _rgb_forward(rgb):
  return rgb.astype(jnp.float32) / 255


def _rgb_inverse(x):
  return x * 255


def _ycbcr_forward(rgb):
  return rgb_to_ycbcr(rgb.astype(jnp.float32)) / 255


def _ycbcr_inverse(x):
  return ycbcr_to_rgb(x * 255)


def _dct_forward(rgb):
  coefficients = block_dct(_ycbcr_forward(rgb)) / DCT_BLOCK
  return coefficients + 0.5 * (1 - _dc_mask(*rgb.shape[-3:-1]))


def _dct_inverse(x):
  coefficients = x - 0.5 * (1 - _dc_mask(*x.shape[-3:-1]))
  return _ycbcr_inverse(block_idct(coefficients * DCT_BLOCK))


# "ycbcr" is the paper's; "ycbcr_dct" is the other reading of its "steps similar to the DCT".
PREPROCESSINGS = {
  "rgb": Preprocessing(_rgb_forward, _rgb_inverse),
  "ycbcr": Preprocessing(_ycbcr_forward, _ycbcr_inverse),
  "ycbcr_dct": Preprocessing(_dct_forward, _dct_inverse, multiple=DCT_BLOCK),
}
