"""Any image to the bytes of a lossless or near-lossless file and back."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from cae_jax.codec import threads
from cae_jax.codec.decoded import Decoded, FileDecoder
from cae_jax.codec.kinds import alpha_of, as_array, kind_of, peak_of
from cae_jax.codec.lossless import colours, samples
from cae_jax.codec.lossless.decoding import LosslessFile, shared_threads
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.plain import may_be_smaller
from cae_jax.codec.lossless.samples import Samples
from cae_jax.codec.lossless.sections import MODEL, is_of_model, plain_section, section
from cae_jax.codec.lossless.tile import TileCoder
from cae_jax.codec.regions import Region
from cae_jax.codec.targets import checked_error
from cae_jax.codec.tiles import coding_tiles
from cae_jax.coding.bitstream import Container, Header, pack
from cae_jax.coding.metadata import check_metadata
from cae_jax.coding.varint import BytesLike
from cae_jax.images import metrics
from cae_jax.models.arrays import Map
from cae_jax.models.lossless.passes import Precision
from cae_jax.weights import Weights


@dataclasses.dataclass(frozen=True, repr=False)
class LosslessEncoded:
  """A file, and what its decoder will make of it.

  Attributes:
    data: the bytes of the file.
    largest_error: that was allowed; 0 is lossless.
    psnr_db: of the decoded image; infinite if it is the same.
    pixels: of the image.
  """

  data: bytes
  largest_error: int
  psnr_db: float
  pixels: int

  def __repr__(self) -> str:
    return f"<LosslessEncoded: {len(self.data)} bytes, {self.rate_bpp:.4f} bpp, {self.how}>"

  @property
  def how(self) -> str:
    """What was done, in a few words."""
    if math.isinf(self.psnr_db):
      return "lossless"
    return f"near-lossless, errors of at most {self.largest_error}"

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * len(self.data) / self.pixels


class _Coded(NamedTuple):
  """What a file is made of, and the mean squared error of what is seen of it decoded."""

  sections: list[bytes]
  layout: Layout
  mse: float


class LosslessCodec(FileDecoder):
  """Images to bytes and back without a loss, or with errors of at most some grey levels.

      image -> integers -> tiles, each by networks or, if smaller, by LZ -> sections of a file
            -> opacity: LZ -------------------------------------------------> section

  Nothing in it needs JAX. What a file decodes to does not depend on the machine; libraries that
  add up in another order may fit a few coefficients of a photograph otherwise, and so encode it to
  some other bytes. It can be used in several threads, and sent to other processes.

  Attributes:
    weights: what it was made from.
  """

  def __init__(self, weights: Weights):
    super().__init__(weights)
    self.coder = TileCoder(weights)

  @functools.cached_property
  def coder(self) -> TileCoder:
    """The networks and tables; made anew in the process that a codec was sent to."""
    return TileCoder(self.weights)

  def __getstate__(self) -> dict[str, Any]:
    return {"weights": self.weights, "_hash": self._hash}

  def compress(
    self,
    image: np.ndarray,
    *,
    near_lossless: SupportsIndex = 0,
    keep_hidden_colour: bool = False,
    metadata: Mapping[str, BytesLike] | None = None,
  ) -> bytes:
    """Compresses an image.

    Args:
      image: uint8 or uint16, [H, W] grey, [H, W, 3] RGB, or with alpha [H, W, 2] or [H, W, 4]; of
        NumPy or JAX.
      near_lossless: how much samples may change, in grey levels; 0 is lossless. Alpha is exact.
      keep_hidden_colour: keeps colours under full transparency, too.
      metadata: kept in the file by name, such as "icc" or "exif".
    Returns:
      The bytes of a .cae file.
    Raises:
      UsageError: another type or shape.
    """
    return self.encode(
      image,
      near_lossless=near_lossless,
      keep_hidden_colour=keep_hidden_colour,
      metadata=metadata,
    ).data

  def encode(
    self,
    image: np.ndarray,
    *,
    near_lossless: SupportsIndex = 0,
    keep_hidden_colour: bool = False,
    metadata: Mapping[str, BytesLike] | None = None,
    bits: int | None = None,
    drawn: bool = False,
    opacity: bytes | None = None,
  ) -> LosslessEncoded:
    """Compresses as `compress`; the result has the file as `data`, its `rate_bpp`, `psnr_db`.

    Args:
      image, near_lossless, keep_hidden_colour, metadata: as of `compress`.
      bits: of the samples that the PSNR is of; those of the type if not given.
      drawn: only what suits drawings is tried, which takes less time.
      opacity: what `opacity_section` makes of the image, if that was done before.
    """
    largest_error = checked_error(near_lossless)
    entries = check_metadata(metadata)
    taken = samples.take_apart(image, largest_error, keep_hidden_colour)
    height, width = taken.colours.shape[1:]
    # Refuses images of too many pixels, before there is work done on them.
    header = Header(self.weights.name, self._hash, taken.kind, height, width)
    sections, layout, mse = _draw(taken) if drawn else self._encode_colours(taken)
    counted = None if drawn or taken.layout.step > 1 else samples.counted(taken)
    if counted is not None:
      others = self._encode_colours(counted)
      if sum(map(len, others[0])) < sum(map(len, sections)):
        sections, layout, mse = others
    if taken.alpha is not None:
      sections.append(opacity or _in_one(taken.alpha[None]))
    header = dataclasses.replace(header, parameters=layout.pack())
    psnr_db = metrics.psnr_from_mse(mse, peak_of(taken.kind.dtype, bits))
    return LosslessEncoded(pack(header, sections, entries), largest_error, psnr_db, height * width)

  def _decode(
    self, container: Container, region: Region | None, salvage: bool, look: float
  ) -> Decoded:
    del look  # nothing looks more real than the image itself
    return LosslessFile(self.coder, container).decode(region, salvage)

  def _preview(self, container: Container) -> np.ndarray:
    return LosslessFile(self.coder, container).preview()

  def _encode_colours(self, taken: Samples) -> _Coded:
    x, layout = taken.colours, taken.layout
    drawing = _drawing(taken)
    tiles = coding_tiles(x.shape[1], x.shape[2], 1)
    precision = Precision(layout.largest, layout.step)
    across, within = shared_threads(tiles)

    def encode(tile) -> tuple[bytes, np.ndarray]:
      part, drawn = (np.ascontiguousarray(of[(slice(None), *tile)]) for of in (x, drawing))
      seen = None if taken.seen is None else taken.seen[tile]
      return self._encode_tile(part, drawn, seen, precision, within_map)

    with threads.threads(within) as within_map, threads.threads(across) as across_map:
      coded = list(across_map(encode, tiles))
    sections = [section for section, _ in coded]
    errors = np.sum([errors for _, errors in coded], axis=0)
    whole = _whole(drawing, sections)
    if whole is not None:
      sections, layout = [whole], dataclasses.replace(layout, whole=True)
      errors = _squared_errors(drawing, x, taken.seen)
    if not errors[0] and not any(map(is_of_model, sections)):  # whose step is that of the error
      layout = dataclasses.replace(layout, largest_error=0)
    if taken.occurring is not None:
      sections = [plain_section(taken.occurring[None, None]), *sections]
    return _Coded(sections, layout, _mse(errors, taken))

  def _encode_tile(
    self,
    x: np.ndarray,
    drawing: np.ndarray,
    seen: np.ndarray | None,
    precision: Precision,
    in_parallel: Map,
  ) -> tuple[bytes, np.ndarray]:
    """The section of a tile, which may be of its drawing, and its squared errors."""
    data, known = self.coder.encode(x, precision, in_parallel)
    coded = section(known.astype(x.dtype), MODEL, data)
    if may_be_smaller(samples.interleaved(drawing), len(coded)):
      plain = plain_section(drawing)
      if len(plain) < len(coded):
        return plain, _squared_errors(drawing, x, seen)
    return coded, _squared_errors(known, x, seen)


def opacity_section(image: Any) -> bytes | None:
  """Codes the opacity of an image, the same whatever its colours may lose; None if it has none.

  Raises:
    UsageError: another type or shape than `LosslessCodec.compress` takes.
  """
  image = as_array(image)
  kind_of(image, (np.uint8, np.uint16))
  alpha = alpha_of(image)
  return None if alpha is None else _in_one(alpha[None])


def _draw(taken: Samples) -> _Coded:
  """Codes a drawing."""
  x, layout, drawing = taken.colours, taken.layout, _drawing(taken)
  errors = _squared_errors(drawing, x, taken.seen)
  layout = dataclasses.replace(
    layout,
    whole=len(coding_tiles(x.shape[1], x.shape[2], 1)) > 1,
    largest_error=layout.largest_error if errors[0] else 0,
  )
  return _Coded([_in_one(drawing)], layout, _mse(errors, taken))


def _drawing(taken: Samples) -> np.ndarray:
  """What plain sections hold: [C, H, W], with fewer colours if there may be errors."""
  if taken.layout.step == 1:
    return taken.colours
  x = samples.interleaved(taken.colours)
  drawing = colours.fewer(x, taken.layout.step // 2)
  return taken.colours if drawing is x else samples.planes(drawing)


def _squared_errors(known: np.ndarray, x: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
  """Sums of squared errors [2]: of all integers [C, H, W], and of those that are seen."""
  sums = np.zeros(2)
  if known is not x:
    for each in zip(known, x):  # by channels, since whole images are large
      squares = np.square(np.subtract(*each, dtype=np.float64))
      of_all = squares.sum()
      sums += of_all, of_all if seen is None else squares.sum(where=seen)
  return sums


def _mse(errors: np.ndarray, taken: Samples) -> float:
  """Mean squared error of the samples that are seen, of the sums of their integers' errors."""
  channels, *sides = taken.colours.shape
  count = math.prod(sides) if taken.seen is None else np.count_nonzero(taken.seen)
  return float(errors[1]) * taken.layout.gap**2 / max(channels * count, 1)


def _whole(x: np.ndarray, sections: Sequence[bytes]) -> bytes | None:
  """One plain section for all tiles, if it is smaller than they are."""
  size = sum(map(len, sections))
  if len(sections) < 2 or not may_be_smaller(samples.interleaved(x), size):
    return None
  whole = _in_one(x)
  return whole if len(whole) < size else None


def _in_one(x: np.ndarray) -> bytes:
  """One plain section, by several threads."""
  with threads.threads(threads.workers()) as in_parallel:
    return plain_section(x, in_parallel)
