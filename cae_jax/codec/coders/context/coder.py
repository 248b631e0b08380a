"""`ContextModel` as a coder: latents to bytes and back, the same symbols on every machine."""

import copy
import functools
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cae_jax import backend
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.context.encoding import Encoder
from cae_jax.codec.coders.context.passes import Here, Passes
from cae_jax.codec.coders.context.sides import hyper_side, padded_side
from cae_jax.codec.info import FINEST_LEVEL, RATE_LEVELS
from cae_jax.coding import rans, sign_hiding
from cae_jax.images.color import to_uint8
from cae_jax.images.tiling import pad_to
from cae_jax.models.arrays import Map, depth_to_space
from cae_jax.models.configuration import configured
from cae_jax.models.context.analysis import HostAnalysis
from cae_jax.models.context.look import moved
from cae_jax.models.context.settings import ContextSettings
from cae_jax.models.context.synthesis import BLOCK, HostSynthesis, join_levels
from cae_jax.weights import Weights

if TYPE_CHECKING:
  from cae_jax.codec.coders.context.compiled import Compiled


class Coder:
  """Analysis, coding and synthesis of one image (or tile); see `LatentCoder`.

  All but `refine` is done by NumPy where there is no accelerator.
  """

  rate_levels = RATE_LEVELS
  finest_level = FINEST_LEVEL

  def __init__(self, weights: Weights, dtype: Any = None):
    """`dtype` is of the transforms; what is coded and decoded does not depend on it."""
    settings = configured(ContextSettings, weights.config)
    self.channels = settings.latent_channels
    self.stride, self.multiple = settings.stride, settings.multiple
    self.margin = settings.margin
    coarse, *fine = settings.levels
    self.coarse_parts = 1 + len(coarse.passes) if fine else 0
    self._settings, self._config, self._dtype = settings, weights.config, dtype
    self._arrays = weights.params
    self._small_basis = _small_basis(weights.params["synthesis"]["basis"])
    self._passes = Passes(settings, weights)
    self._looked: tuple[Any, float, Coder | None] = None, 0.0, None

  @property
  def works_on_host(self) -> bool:
    """Whether only `refine` needs JAX."""
    return self._dtype is None and not backend.has_accelerator()

  @functools.cached_property
  def compiled(self) -> "Compiled":
    """The half that needs JAX, which is imported only now."""
    from cae_jax.codec.coders.context.compiled import Compiled

    return Compiled(self._config, self._arrays, self._passes, self._dtype)

  @functools.cached_property
  def _host_analysis(self) -> HostAnalysis:
    return HostAnalysis(self._arrays, self._settings.levels[0].channels, self._settings.blocks)

  @functools.cached_property
  def encoder(self) -> Encoder:
    """What makes bytes of latents."""
    return Encoder(self._settings.levels, self._host_analysis, self._passes)

  @functools.cached_property
  def _host_synthesis(self) -> HostSynthesis:
    return HostSynthesis(self._arrays, self._settings.levels[0].channels, self._settings.blocks)

  def analyse(self, image: np.ndarray, in_parallel: Map = map) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32 in grey levels, h = ceil(H / 16)."""
    if not self.works_on_host:
      return self.compiled.analyse(image)
    height, width = (-(-side // BLOCK) for side in image.shape[:2])
    x = pad_to(image, BLOCK * self._with_margin(height), BLOCK * self._with_margin(width))
    x = x[None].astype(np.float32) / 255
    return self._host_analysis(x, in_parallel)[0, :height, :width]

  def refine(
    self, image: np.ndarray, y: np.ndarray, rate_level: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Makes latents of `analyse` better for a rate level, and finds their aims; see `refine`.

    Not where steps are finer than the model's: there they are returned as they are.
    """
    if rate_level > self.rate_levels:
      return y, y
    gain = self.encoder.gain(rate_level)
    refined, aim = self.compiled.refine(image, y * gain, rate_level)
    return refined / gain, aim / gain

  def steps(self, rate_level: int) -> np.ndarray:
    """Returns how many steps of a file a grey level is, for each latent: float32 [1, 1, M]."""
    return self.encoder.steps(rate_level)

  def encode(
    self,
    y: np.ndarray,
    rate_level: int,
    aim: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    in_parallel: Map = map,
  ) -> Coded:
    """Encodes latents at a rate level from 0 to 7168; see `Encoder.encode`."""
    return self.encoder.encode(y, rate_level, aim, masks, in_parallel)

  def decode(
    self, section: bytes, shape: tuple[int, int], rate_level: int, in_parallel: Map = map
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written: symbols and y_hat, for h x w latent positions.

    Raises:
      BitstreamError: the section is damaged.
    """
    decoder = rans.Decoder(section)
    depth = len(self._settings.levels)
    symbols, levels = self._decode(decoder, shape, rate_level, depth, in_parallel)
    decoder.finish()
    return symbols, functools.reduce(join_levels, levels)

  def decode_coarse(
    self, section: bytes, shape: tuple[int, int], rate_level: int, in_parallel: Map = map
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes the coarse latents only: symbols, and y_hat [h, w, C]; raises as `decode`."""
    symbols, levels = self._decode(rans.Decoder(section), shape, rate_level, 1, in_parallel)
    return symbols, levels[0]

  def _decode(
    self,
    decoder: rans.Decoder,
    shape: tuple[int, int],
    rate_level: int,
    depth: int,
    in_parallel: Map,
  ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Symbols, and y_hat of the first `depth` levels."""
    z_shape = (*map(hyper_side, shape), self._settings.hyper_channels)
    z_hat = decoder.decode(channel_indexes(z_shape), self._passes.prior)
    symbols = [z_hat]

    def code_pass(here: Here, indexes: np.ndarray, means: np.ndarray) -> np.ndarray:
      del here, means
      symbols.append(sign_hiding.decode(decoder, indexes, self._passes.magnitudes))
      return symbols[-1]

    levels = self._passes.run(z_hat, shape, rate_level, code_pass, in_parallel)
    return symbols, list(itertools.islice(levels, depth))

  def preview(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Makes a picture of an eighth of the size of coarse latents: uint8 [2h, 2w, 3].

    The means of 8x8 pixels of the linear path of the synthesis.
    """
    step = self._host_synthesis.step(self._passes.tradeoffs(rate_level))[0, 0, 0]
    x = (y_hat * step[: y_hat.shape[-1]]) @ self._small_basis[: y_hat.shape[-1]]
    return np.clip(np.rint(depth_to_space(x, 2) + 255 / 2), 0, 255).astype(np.uint8)

  def looking(self, difference: Mapping[str, Any], strength: float) -> "Coder":
    """Returns this coder with a share of a difference added to its parameters.

    They keep their shapes, so it runs the same compiled programs. The last one is kept, for files
    of one quality and for regions of one file.
    """
    made_of, share, other = self._looked
    if other is None or made_of is not difference or share != strength:
      other = copy.copy(self)
      other._arrays = moved(self._arrays, difference, np.float32(strength))
      for made in ("compiled", "_host_synthesis"):
        vars(other).pop(made, None)
      other._looked = None, 0.0, None
      self._looked = difference, strength, other
    return other

  def synthesise(self, y_hat: np.ndarray, rate_level: int, in_parallel: Map = map) -> np.ndarray:
    """Synthesises y_hat [h, w, M] in steps: uint8 [16h, 16w, 3]."""
    if not self.works_on_host:
      return self.compiled.synthesise(y_hat, rate_level)
    height, width = y_hat.shape[:2]
    # Beyond the border is more of the same: zeros, a grey, would show at its edges.
    y_hat = pad_to(y_hat, self._with_margin(height), self._with_margin(width))
    tradeoffs = self._passes.tradeoffs(rate_level)
    x = self._host_synthesis(y_hat[None], tradeoffs, lambda x: to_uint8(255 * x), in_parallel)[0]
    return x[: BLOCK * height, : BLOCK * width]

  def _with_margin(self, side: int) -> int:
    """Latent positions that the transforms are run on, of which they see no end."""
    return min(side + self.margin, padded_side(side))


def _small_basis(basis: np.ndarray) -> np.ndarray:
  """The synthesis' block transform [768, M] as one to 2x2 means of 8x8 pixels: [M, 12]."""
  pixels = np.asarray(basis, np.float32).reshape(2, BLOCK // 2, 2, BLOCK // 2, 3, -1)
  return pixels.mean((1, 3)).reshape(12, -1).T / np.sqrt(np.float32(len(basis)))
