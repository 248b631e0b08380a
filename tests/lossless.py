"""A tiny lossless model for tests: random networks, true tables; and a lossy one to stand in."""

import dataclasses
import functools

import numpy as np

from cae_jax.codec.drawn import check_layer
from cae_jax.codec.kinds import kind_of
from cae_jax.codec.lossless import tile
from cae_jax.codec.targets import OutOfReach
from cae_jax.models.lossless import linear, network
from cae_jax.models.lossless.phases import PHASES
from cae_jax.weights import Weights

TRUNK, HEAD = (12, 8), 6


@functools.cache
def tiny_weights(biases: bool = False) -> Weights:
  """Returns weights whose networks say little: without JAX, and the same everywhere."""
  rng = np.random.default_rng(0)
  sets = {
    f"sets_{i}_{phase}": _phase(rng, len(of.neighbours))
    for i in range(network.SETS)
    for phase, of in enumerate(PHASES)
  }
  linear_tables = {
    str(channels): np.zeros(
      (linear.FITTED_LEVELS, 3, channels, linear.size(2, channels - 1, channels)), np.int16
    )
    for channels in (1, 3)
  }
  config = {"model": "lossless", "trunk_widths": list(TRUNK), "head_width": HEAD}
  return Weights(
    "tiny-lossless",
    {**config, "biases": True} if biases else config,
    sets,
    {"distribution": tile.make_arrays(), "linear": linear_tables},
  )


def _phase(rng, neighbours: int) -> dict[str, np.ndarray]:
  params = {}
  size = 3 * (neighbours + network.ERRORS) + 10

  def add(name: str, width: int, inputs: int, gain: float, classes: int = 0) -> None:
    scale = gain * np.sqrt(2 / inputs)
    params[f"{name}_weights"] = rng.normal(0, scale, (width, inputs)).astype(np.float32)
    shape = (classes, width) if classes else (width,)
    params[f"{name}_bias"] = np.zeros(shape, np.float32)

  for i, width in enumerate(TRUNK):
    add(f"trunk_{i}", width, size, 1.0, network.LEVELS + network.STEPS if i == 0 else 0)
    size = width
  for c in range(3):
    add(f"head_{c}_0", HEAD, size + 2 + 2 * c, 1.0)
    add(f"head_{c}_1", 3, HEAD, 0.1)
  return params


@dataclasses.dataclass(frozen=True)
class LossyEncoded:
  """What `LossyStandIn` makes."""

  data: bytes
  psnr_db: float
  is_best: bool
  quality: float | None = None
  rate_bpp: float = 1.0
  how: str = "lossy"

  @property
  def is_finer(self) -> bool:
    """Whether the quality is beyond those of a model's own steps."""
    return (self.quality or 0) > 100


@dataclasses.dataclass(frozen=True)
class LossyStandIn:
  """Takes the part of the lossy codec where another must take over.

  Attributes:
    size_bytes: of its largest file.
    psnr_db: of that.
    ssimulacra2: of that.
    layered_share: of its size, of a file with a layer.
    layered_gain_db: of that.
  """

  size_bytes: int = 100
  psnr_db: float = 40.0
  ssimulacra2: float = 70.0
  layered_share: float = 1.0
  layered_gain_db: float = 0.0

  def encode(self, image, *, effort=0, metadata=None, layer=None, **target):
    """Meets targets of its range, as `Codec.encode`."""
    kind_of(image)
    if layer is not None:
      check_layer(layer, image)
      size_bytes, psnr_db = (
        self.layered_share * self.size_bytes,
        self.psnr_db + self.layered_gain_db,
      )
      other = dataclasses.replace(self, size_bytes=int(size_bytes), psnr_db=psnr_db)
      return dataclasses.replace(other.encode(image, **target), how="layered")
    [(name, value)] = target.items() or {"quality": 50}.items()
    if name == "psnr" and value > self.psnr_db:
      raise OutOfReach(f"{value:g} dB cannot be met")
    if name == "ssimulacra2" and value > self.ssimulacra2:
      raise OutOfReach(f"a score of {value:g} cannot be met")
    if name == "quality":
      return LossyEncoded(bytes(self.size_bytes), self.psnr_db - 1, is_best=False, quality=value)
    limit = value * image.shape[0] * image.shape[1] / 8 if name == "bpp" else value
    if name in ("bpp", "size_bytes") and limit >= self.size_bytes:
      return LossyEncoded(bytes(self.size_bytes), self.psnr_db, is_best=True)
    return LossyEncoded(bytes(int(min(limit, self.size_bytes))), self.psnr_db - 1, is_best=False)
