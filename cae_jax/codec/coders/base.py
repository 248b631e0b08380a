"""What a model has to provide so that `Codec` can make files with it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from cae_jax.models.arrays import Map


class Coded(NamedTuple):
  """Latents as bytes.

  Attributes:
    section: of the container.
    symbols: integer arrays in the order of decoding, for the checksum.
    y_hat: [h, w, M] float32, what the decoder will have.
  """

  section: bytes
  symbols: list[np.ndarray]
  y_hat: np.ndarray


class LatentCoder(Protocol):
  """A trained model as analysis, entropy coding and synthesis of images.

  Attributes:
    stride: pixels that a latent position stands for, across and down.
    multiple: windows that are handed in should begin at multiples of this, in pixels; more than
      the stride where latents have a coarser level, such as hyper-latents.
    channels: M, of the latents.
    margin: how far analysis and synthesis look beyond a window's interior, in latent positions. Too
      small a margin shows as seams in images larger than a window (`codec.windows`).
    rate_levels: those that the model was trained for are 0 to this; 0 where it has one rate only.
    finest_level: rate levels of finer steps go on to this.
    coarse_parts: how many of the symbol arrays, the first ones, are those of `decode_coarse`; 0
      where a model has no such thing.
    works_on_host: whether NumPy does all but `refine`, here and now; JAX need not work then.
  """

  @property
  def stride(self) -> int: ...
  @property
  def multiple(self) -> int: ...
  @property
  def channels(self) -> int: ...
  @property
  def margin(self) -> int: ...
  @property
  def rate_levels(self) -> int: ...
  @property
  def finest_level(self) -> int: ...
  @property
  def coarse_parts(self) -> int: ...
  @property
  def works_on_host(self) -> bool: ...

  def analyse(self, image: np.ndarray, in_parallel: Map = map) -> np.ndarray:
    """Analyses an image, for any rate.

    Args:
      image: uint8 [H, W, 3].
      in_parallel: applies a function to parts of the work, here and below.
    Returns:
      y [ceil(H / stride), ceil(W / stride), M] float32.
    """

  def refine(
    self, image: np.ndarray, y: np.ndarray, rate_level: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Finds latents no worse than `analyse`'s for this image and rate level, by a gradient step.

    Asked for only where there are rate levels.

    Returns:
      (y to be rounded, aim: what latents should be close to that are not coded as y rounds).
    """

  def steps(self, rate_level: int) -> np.ndarray:
    """Returns how many steps of a file a unit of y is, float32 [1, 1, M].

    Asked for only where there are rate levels.
    """
    ...

  def encode(
    self,
    y: np.ndarray,
    rate_level: int,
    aim: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    in_parallel: Map = map,
  ) -> Coded:
    """Encodes latents at a rate level.

    Args:
      y: of `analyse`, or of `refine`.
      rate_level: 0 to `finest_level`.
      aim: of `refine`, if it was asked.
      masks: [h, w] of `masking.classes`, if errors count more in some places than in others.
    """

  def decode(
    self, section: bytes, shape: tuple[int, int], rate_level: int, in_parallel: Map = map
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes symbols and y_hat [h, w, M] of h x w latent positions; raises BitstreamError."""

  def decode_coarse(
    self, section: bytes, shape: tuple[int, int], rate_level: int, in_parallel: Map = map
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes the coarse latents only: their symbols and y_hat [h, w, C], the first C channels.

    Nothing is checked. Asked for only where there are `coarse_parts`.
    """

  def preview(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Makes a small picture of coarse latents [h, w, C], uint8 [h * s, w * s, 3]; s = stride / 8.

    Asked for only where there are `coarse_parts`.
    """

  def looking(self, difference: Mapping[str, Any], strength: float) -> "LatentCoder":
    """Returns this coder with a share of a difference added to its parameters (`weights.look`).

    Asked for only where weights have a look.
    """
    ...

  def synthesise(self, y_hat: np.ndarray, rate_level: int, in_parallel: Map = map) -> np.ndarray:
    """Synthesises y_hat [h, w, M]: uint8 [h * stride, w * stride, 3]."""
