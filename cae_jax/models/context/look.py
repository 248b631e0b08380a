"""What a look changes of the parameters of `ContextModel`.

The network of the synthesis, not its block transform: that is linear, so it can only say where
energy goes that the latents have, while texture which was not coded takes a network; colours and
the preview, which is made by the block transform alone, stay what they are; and the difference
takes a quarter less. Nothing that probabilities depend on changes: the file is decoded as ever.
"""

from collections.abc import Mapping
from typing import Any

_PART, _FIXED = "synthesis", "basis"


def changed_part(params: Mapping[str, Any]) -> dict[str, Any]:
  """Returns those of a model's parameters that a look changes, nested as in the model's."""
  return {_PART: {name: value for name, value in params[_PART].items() if name != _FIXED}}


def moved(params: Mapping[str, Any], difference: Mapping[str, Any], strength: Any) -> dict:
  """Adds a share of a difference to the parameters that it is of; the others stay the same objects.

  Args:
    params, difference: nested dictionaries of arrays, of NumPy or JAX.
    strength: a number, 0 to 1.
  """
  result = dict(params)
  for name, change in difference.items():
    inner = isinstance(change, Mapping)
    ours = params[name]
    result[name] = moved(ours, change, strength) if inner else ours + strength * change
  return result
