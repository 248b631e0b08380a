"""Multiply-accumulate operations of a function, counted in what JAX traces of it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from cae_jax.models import Model


def macs_per_pixel(model: Model, side: int = 256) -> tuple[float, float]:
  """Counts MACs of the encoder and of the decoder for each pixel of a square image.

  The encoder is everything but the synthesis, the decoder everything but the analysis; so the
  hyper-analysis, a few tenths of a kMAC, is counted in both.
  """
  side = -(-side // model.multiple) * model.multiple
  x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  u = jax.ShapeDtypeStruct((1,), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), x, u)["params"]
  apply = lambda method: lambda params, *a: model.apply({"params": params}, *a, method=method)
  y = jax.eval_shape(apply("analyse"), params, x)
  everything = count_macs(apply("__call__"), params, x, u)
  analysis = count_macs(apply("analyse"), params, x)
  synthesis = count_macs(apply("synthesise"), params, y, u)
  return (everything - synthesis) / side**2, (everything - analysis) / side**2


def count_macs(function: Callable, *args: Any) -> int:
  """Counts MACs of all convolutions and matrix products of function(*args), and nothing else.

  Of a convolution of a dilated input (a transposed one) the products with the zeros between do not
  count. A `cond` counts as its dearest branch.

  Args:
    function: traced, not run.
    args: arrays, or `jax.ShapeDtypeStruct`s.
  Raises:
    ValueError: the function has a loop of unknown length.
  """
  return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
  return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> int:
  params = equation.params
  inner = [_of_jaxpr(jaxpr) for value in params.values() for jaxpr in _jaxprs(value)]
  match equation.primitive.name:
    case "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      features = kernel[params["dimension_numbers"].rhs_spec[0]]
      positions = math.prod(equation.outvars[0].aval.shape) // math.prod(params["lhs_dilation"])
      return positions * math.prod(kernel) // features
    case "dot_general":
      left = equation.invars[0].aval.shape
      (contracted, _), _ = params["dimension_numbers"]
      depth = math.prod(left[axis] for axis in contracted)
      return depth * math.prod(equation.outvars[0].aval.shape)
    case "scan":
      return params["length"] * sum(inner)
    case "cond":
      return max(inner)
    case "while" if any(inner):
      raise ValueError("the function has a loop of unknown length: its MACs cannot be counted")
  return sum(inner)


def _jaxprs(value: Any) -> Iterator[Any]:
  """The jaxprs among an equation's parameters."""
  if hasattr(value, "eqns"):
    yield value
  elif hasattr(value, "jaxpr"):
    yield from _jaxprs(value.jaxpr)
  elif isinstance(value, (tuple, list)):
    for item in value:
      yield from _jaxprs(item)
