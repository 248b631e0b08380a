"""Our codecs as the evaluation sees them."""

import functools
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

import numpy as np

import cae_jax
from cae_jax import codec as codecs
from cae_jax.codec import Codec, LosslessCodec, windows
from cae_jax.codec.targets import FINEST_QUALITY, checked_look
from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs.base import FileCodec
from cae_jax.evaluation.codecs.lossless_codecs import bounded
from cae_jax.evaluation.names import EFFORT, LOOK, is_baseline
from cae_jax.models import model_class

_Kind = TypeVar("_Kind", Codec, LosslessCodec)
_SIDES = np.dtype("<u4")
_QUALITIES = tuple(f"{quality:g}" for quality in np.linspace(0, 100, 9))
# Finer than a percent of size from one to the next.
_SEARCH = tuple(f"{quality:g}" for quality in np.linspace(0, FINEST_QUALITY, 701))
_SHOWN = "50"


def load(weights: str | PathLike) -> Codec:
  """Loads a lossy codec of ours that is to be measured.

  Args:
    weights: a name or a file, as of `codec.load`, whose errors are raised as well.
  Raises:
    UsageError: they are of a lossless model, or have the name of a baseline.
  """
  return _load(
    weights,
    Codec,
    "of a lossless model, expected those of a lossy one; lossless ones are measured by python -m "
    "experiments.evaluate --lossless",
  )


def load_lossless(weights: str | PathLike) -> LosslessCodec:
  """Loads a lossless codec of ours that is to be measured; as `load`."""
  return _load(
    weights,
    LosslessCodec,
    "of a lossy model, expected those of a lossless one; leave --lossless out",
  )


def _load(weights: str | PathLike, kind: type[_Kind], otherwise: str) -> _Kind:
  """Loads a codec of a kind; the error for the other one says its weights are `otherwise`."""
  codec = codecs.load(weights)
  if not isinstance(codec, kind):
    raise UsageError(f"the weights {codec.weights.name!r} are {otherwise}")
  if is_baseline(codec.weights.name):
    raise UsageError(
      f"the weights are named {codec.weights.name!r}, as one of the classical codecs is, and their "
      "records could not be told from its; train them with another --name"
    )
  return codec


def file_codecs(
  codec: Codec,
  efforts: Sequence[int] = (),
  looks: Sequence[float] = (),
  qualities: Sequence[float] = (),
) -> list[FileCodec]:
  """Lists the codec itself, also at efforts and with looks, and perhaps the network alone.

  That one of a model that was trained for its reconstruction alone: so the paper measures its own.

  Args:
    codec, qualities: see `coded`.
    efforts, looks: besides 0.
  """
  objective = model_class(codec.weights.config["model"]).objective
  alone = [uncoded(codec)] if objective == "reconstruction" else []
  varied = [coded(codec, effort, qualities=qualities) for effort in efforts]
  varied += [coded(codec, look=look, qualities=qualities) for look in looks]
  return [coded(codec, qualities=qualities), *alone, *varied]


def coded(
  codec: Codec, effort: int = 0, look: float = 0.0, qualities: Sequence[float] = ()
) -> FileCodec:
  """Wraps the codec itself: its whole files, at qualities if it has any.

  Args:
    codec: ours.
    effort: of its encoder; above 0 it is part of the name, and there are fewer qualities.
    look: of its decoder; above 0 it is part of the name.
    qualities: to measure it at, in place of nine from 0 to 100.
  Raises:
    UsageError: an effort or qualities for a codec of one rate, or a look that there is not.
  """
  if effort and not codec.coder.rate_levels:
    raise UsageError(
      f"the model {codec.weights.name!r} has one rate only and cannot refine latents; leave "
      f"effort {effort} out"
    )
  if qualities and not codec.coder.rate_levels:
    raise UsageError(f"the model {codec.weights.name!r} has one rate only; leave qualities out")
  if checked_look(look) and codec.look is None:
    raise UsageError(f"the weights {codec.weights.name!r} have no look; leave look {look:g} out")
  name = codec.weights.name
  name = f"{name}{EFFORT}{effort}" if effort else name
  if codec.coder.rate_levels:
    settings, search = _QUALITIES[:: 2 if effort else 1], _SEARCH
    if qualities:
      settings = tuple(f"{quality:g}" for quality in qualities)
    encoder = lambda x, setting: codec.compress(x, quality=float(setting), effort=effort)
  else:
    settings = search = (_only_setting(codec.weights.config),)
    encoder = lambda x, _: codec.compress(x)
  return FileCodec(
    name=f"{name}{LOOK}{look:g}" if look else name,
    version=version_of(codec, look),
    settings=settings,
    search=search,
    encoder=encoder,
    decoder=functools.partial(codec.decompress, look=look),
  )


def lossless(codec: LosslessCodec, bounds: Sequence[int] = ()) -> FileCodec:
  """Wraps a lossless codec of ours: its whole files, near-lossless with error bounds above 0.

  Args:
    codec: of lossless weights.
    bounds: largest errors of a sample to measure besides 0.
  """
  return bounded(
    codec.weights.name,
    f"{version_of(codec)}; threads of the machine",
    bounds,
    # As the other codecs do, whose files are compared sample by sample.
    lambda x, bound: codec.compress(x, near_lossless=bound, keep_hidden_colour=True),
    codec.decompress,
  )


def _only_setting(config: Mapping[str, Any]) -> str:
  """The name of the one setting of a model of fixed rate."""
  if "fixed_lmbda" in config:
    return f"lmbda {config['fixed_lmbda']:g}"
  return f"{config['coding_bits']} bits" if "coding_bits" in config else "its one rate"


def shown_setting(codec: Codec) -> str:
  """Returns the setting of `coded` that pictures are drawn at."""
  settings = coded(codec).settings
  return str(_SHOWN if _SHOWN in settings else settings[0])


def uncoded(codec: Codec) -> FileCodec:
  """Wraps the network alone, as the paper measures it: latents stored as raw float32 numbers."""
  return FileCodec(
    name=f"{codec.weights.name}-float",
    version=version_of(codec),
    settings=("float32 latents",),
    search=("float32 latents",),
    encoder=lambda x, _: _store(codec, x),
    decoder=lambda data: _restore(codec, data),
  )


def version_of(codec: Codec | LosslessCodec, look: float = 0.0) -> str:
  """Names the package's and the weights' version, and with a look its own, as records have it."""
  words = f"cae_jax {cae_jax.__version__}, weights {codec.weights.hash().hex()}"
  if look and isinstance(codec, Codec) and codec.look is not None:
    return f"{words}, look {codec.look.hash().hex()}"
  return words


def _store(codec: Codec, x_uint8: np.ndarray) -> bytes:
  y = windows.analyse(codec.coder, x_uint8)
  sides = np.array([*x_uint8.shape[:2], *y.shape], _SIDES)
  return sides.tobytes() + y.astype("<f4").tobytes()


def _restore(codec: Codec, data: bytes) -> np.ndarray:
  height, width, *shape = np.frombuffer(data, _SIDES, count=5).tolist()
  y = np.frombuffer(data, "<f4", offset=5 * _SIDES.itemsize).reshape(shape)
  return windows.synthesise(codec.coder, y, 0, height, width)
