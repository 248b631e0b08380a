"""Convolution in the layout that images, maps and kernels have everywhere here."""

from collections.abc import Sequence

import jax


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  stride: int = 1,
  padding: str | Sequence[tuple[int, int]] = "SAME",
  spacing: int = 1,
) -> jax.Array:
  """Convolves as networks do, without turning the kernel round.

  Args:
    x: [B, H, W, C].
    kernel: [h, w, C, F].
    stride: between outputs, across and down.
    padding: zeros before and after, down and across, or "SAME": H / stride x W / stride outputs.
    spacing: between the inputs that neighbouring taps see.
  Returns:
    [B, H', W', F].
  """
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    rhs_dilation=(spacing, spacing),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
