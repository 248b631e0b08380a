"""`ContextModel`'s hyper-synthesis and context passes in integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models import exact
from cae_jax.models.context import ContextModel
from cae_jax.models.entropy import SCALE_CEILING, SCALE_FLOOR, SCALE_LEVELS
from cae_jax.models.exact import IntegerLayer

FRACTION_BITS = 4  # of means and decoded latents: they count in sixteenths of a step
_INDEX_BITS = 8  # below an index of the scale tables
_LOG_STEP = np.log(SCALE_CEILING / SCALE_FLOOR) / (SCALE_LEVELS - 1)
_HEADROOM = 2.0  # of activations, over the largest that calibration saw

# name of the stack ("hyper_synthesis", "context_0", ...) -> its layers
Networks = dict[str, list[IntegerLayer]]


def quantize_networks(
  model: ContextModel, params: Any, maxima: Mapping[str, Sequence[float]]
) -> Networks:
  """Integer networks of trained parameters.

  Args:
    maxima: for each stack the largest size of each layer's outputs, as `activation_maxima` finds.
  """
  reach = {name: _HEADROOM * np.asarray(sizes) for name, sizes in maxima.items()}
  feature_unit = reach["hyper_synthesis"][-1] / exact.ACTIVATION_MAX
  hyper = model.hyper_layers
  networks = {
    "hyper_synthesis": exact.calibrate_stack(
      params["hyper_synthesis"],
      hyper,
      np.ones(model.hyper_channels),
      np.full(hyper[-1].features, feature_unit),
      reach["hyper_synthesis"],
    )
  }
  step_units = 2.0**-FRACTION_BITS / np.asarray(params["spread"], np.float64)
  for i, p in enumerate(model.passes):
    name = f"context_{i}"
    inputs = [np.full(model.hyper_features, feature_unit), step_units[: p.known]]
    channels = p.stop - p.start
    outputs = [step_units[p.start : p.stop], np.full(channels, _LOG_STEP / 2**_INDEX_BITS)]
    networks[name] = exact.calibrate_stack(
      _scales_from_floor(params[name], channels),
      model.pass_layers(p),
      np.concatenate(inputs),
      np.concatenate(outputs),
      reach[name],
    )
  return networks


def _scales_from_floor(params: Mapping[str, Any], channels: int) -> dict[str, np.ndarray]:
  """The stack's parameters with outputs ln(scale / floor) in place of ln(scale)."""
  params = {name: np.asarray(value) for name, value in params.items()}
  last = max(name for name in params if name.startswith("bias_"))
  params[last] = params[last].copy()
  params[last][0, channels:] -= np.log(SCALE_FLOOR)
  return params


def activation_maxima(
  model: ContextModel, params: Any, x: jax.Array, tradeoff: jax.Array
) -> dict[str, list[jax.Array]]:
  """The largest size of each stack's layer outputs on x [B, H, W, 3] in [0, 1]."""
  _, state = model.apply({"params": params}, x, tradeoff, method="rounded", mutable=["maxima"])
  return {
    name: [value[0] for _, value in sorted(layers.items())]
    for name, layers in state["maxima"].items()
  }


def hyper_features(
  model: ContextModel, layers: Sequence[IntegerLayer], bias: Sequence[Any], z_hat: jax.Array
) -> jax.Array:
  """z_hat [h, w, C] int32 -> features [4h, 4w, F] int32."""
  return exact.evaluate(layers, model.hyper_layers, bias, z_hat)


def context_pass(
  model: ContextModel,
  number: int,
  layers: Sequence[IntegerLayer],
  bias: Sequence[Any],
  features: jax.Array,
  known: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """What a pass says of its channels, at all positions.

  Args:
    features: [h, w, F] int32.
    known: [h, w, K] int32, what earlier passes decoded, in sixteenths of a step; zero elsewhere.
  Returns:
    means [h, w, C] int32 in sixteenths of a step, and indexes [h, w, C] uint8 of the scale tables.
  """
  x = jnp.concatenate([features, known], axis=-1)
  specs = model.pass_layers(model.passes[number])
  means, scales = jnp.split(exact.evaluate(layers, specs, bias, x), 2, axis=-1)
  half = 1 << (_INDEX_BITS - 1)
  indexes = jnp.clip((scales + half) >> _INDEX_BITS, 0, SCALE_LEVELS - 1)
  return means, indexes.astype(jnp.uint8)
