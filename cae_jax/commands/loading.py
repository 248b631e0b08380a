"""The codecs of a command, by the weights that are asked for."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from cae_jax import api
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.coding.bitstream import Header
from cae_jax.errors import UsageError
from cae_jax.weights import WeightsError, shipped
from cae_jax.weights.shipped import find_for_file


def load_codec(weights: str) -> Any:
  """Returns the codec of weights (`api.codec`), with compiled programs kept on disk."""
  from cae_jax import compile_cache

  found = api.codec(weights)
  if not isinstance(found, LosslessCodec):  # that one compiles nothing
    compile_cache.enable()
  return found


def lossy_and_lossless(
  weights: str | None, tune: str | None, goal: Mapping[str, float | None], is_exact: bool
) -> tuple[Sequence[Callable], Callable]:
  """What makes the lossy codecs and the lossless one; some of the weights that are asked for."""
  lossless = functools.partial(load_codec, shipped.LOSSLESS)
  if weights is None:
    return shipped.lossy(tune, goal, load_codec), lossless
  _check_one(weights, tune)
  given = functools.partial(load_codec, weights)
  if not isinstance(load_codec(weights), LosslessCodec):
    if is_exact:
      raise UsageError(f"the weights {weights} are lossy; leave them out, or the lossless file")
    return [given], lossless

  def no_lossy() -> NoReturn:
    raise UsageError(f"the weights {weights} are lossless; give --lossless or --near_lossless=T")

  return [no_lossy], given


def _check_one(weights: str | None, tune: str | None) -> None:
  """Raises UsageError if both are given."""
  if weights is not None and tune is not None:
    raise UsageError("weights and tune both say which weights to take; expected one of them")


def codec_for(header: Header, weights: str | None) -> Any:
  """Returns the codec that a file was made with: of the given weights, or else of shipped ones.

  Raises:
    WeightsError: it was made with neither.
  """
  given = None if weights is None else load_codec(weights)
  if given is not None and given.weights.name == header.model_id:
    return given
  try:
    return load_codec(str(find_for_file(header.model_id, header.model_hash.hex())))
  except WeightsError:
    if given is None:
      raise
    return given  # which says what it expects
