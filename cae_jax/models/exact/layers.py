"""The layers of a small network that drives the coder, as training and files both know them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

SLOPE_SHIFT = 3  # the leaky ReLUs' slope is 2^-3


class Layer(NamedTuple):
  """A convolution of `kernel_size`, then `upsample`-fold depth-to-space (1: none)."""

  kernel_size: int
  features: int
  upsample: int = 1


def stack_layers(params: Mapping[str, Any]) -> list[tuple[Any, Any]]:
  """Lists the (kernel, bias) of each layer of a stack's parameters, in order."""
  count = sum(name.startswith("kernel_") for name in params)
  return [(params[f"kernel_{i}"], params[f"bias_{i}"]) for i in range(count)]
