"""Image files to .cae files."""

import contextlib
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cae_jax.codec import automatic, info
from cae_jax.codec.kinds import hides_colours
from cae_jax.codec.lossless.image import LosslessEncoded
from cae_jax.codec.targets import OutOfReach
from cae_jax.coding.metadata import MAX_METADATA_BYTES
from cae_jax.commands import loading, results
from cae_jax.errors import MissingExtraError
from cae_jax.images import jpeg
from cae_jax.images.files import ImageError, ImageFile, read_image
from cae_jax.streams import Place, name_of, read_bytes, write_bytes
from cae_jax.weights import shipped

if TYPE_CHECKING:
  from cae_jax.codec.encoding import Encoded


_METADATA = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP"}


class Compressed(NamedTuple):
  """A .cae file, and notes on what of the image file is not in it as it was."""

  encoded: "Encoded | LosslessEncoded"
  notes: list[str]


def compress_file(
  source: Place, target: Place, *, overwrite: bool = True, **options: Any
) -> results.Result:
  """Compresses an image file.

  Args:
    source: any image file that Pillow reads.
    target: the .cae file to write.
    overwrite: False leaves a file of the target's name alone.
    **options: of `compress_bytes`.
  Returns:
    What was done, with the true rate and PSNR.
  Raises:
    Error: the source is no image, or the goal cannot be met.
    OSError: a file cannot be read or written; FileExistsError if there is one, and `overwrite` is
      False.
  """
  data = read_bytes(source)
  encoded, notes = compress_bytes(data, name_of(source), **options)
  write_bytes(target, encoded.data, overwrite=overwrite)
  is_same = math.isinf(encoded.psnr_db)
  psnr = [] if is_same else [f"{encoded.psnr_db:.2f} dB"]
  what = [f"{len(encoded.data)} bytes", f"{encoded.rate_bpp:.4f} bpp", *psnr, encoded.how]
  return results.result(
    source,
    target,
    ", ".join(filter(None, what)),
    [*notes, *_of_growth(len(data), len(encoded.data), is_jpeg=data.startswith(jpeg.START))],
    info(encoded.data),
    input_bytes=len(data),
    psnr_db=None if is_same else encoded.psnr_db,
  )


def _of_growth(before: int, after: int, *, is_jpeg: bool) -> list[str]:
  """Notes on a file that is larger than the one that it was made of."""
  why = ", a JPEG file, which is lossy already" if is_jpeg else ""
  return [f"larger than the input of {before} bytes{why}"] if after > before else []


def compress_bytes(
  data: bytes,
  name: str,
  *,
  weights: str | None = None,
  tune: str | None = None,
  strip: bool = False,
  lossless: bool = False,
  near_lossless: int | None = None,
  keep_hidden_colour: bool = False,
  effort: int = 0,
  metadata: Mapping[str, bytes] | None = None,
  **goal: float | None,
) -> Compressed:
  """Compresses the bytes of an image file.

  Args:
    data: of any image file that Pillow reads.
    name: what errors call it.
    weights: a shipped name or a file; those for the tune if None.
    tune: as of `cae_jax.compress`, in the place of weights.
    strip: leaves out colour profile, EXIF and XMP.
    lossless, near_lossless, keep_hidden_colour: as of `cae_jax.compress`.
    effort: as of `cae_jax.compress`.
    metadata: kept beside those of the image file.
    **goal: of `Codec.encode`, at most one that is not None.
  Raises:
    Error: the bytes are no image, or the goal cannot be met.
  """
  exact = lossless or near_lossless is not None or goal.get("psnr") == math.inf
  asked = {**goal, "effort": effort}
  lossy, closest = loading.lossy_and_lossless(
    weights, tune, asked, lossless or near_lossless is not None
  )
  more = dict(metadata or {})

  def encode(image: ImageFile) -> Compressed:
    kept, notes = ({}, _of_stripped(image)) if strip else _fitting_metadata(image, more)
    encoded = automatic.encode(
      image.pixels,
      lossy,
      closest,
      exact=lossless,
      near_lossless=near_lossless,
      keep_hidden_colour=keep_hidden_colour,
      tune=tune,
      effort=effort,
      metadata={**kept, **more},
      bits=image.bits,
      **goal,
    )
    return Compressed(encoded, [*image.notes, *notes])

  read = functools.partial(read_image, data, name=name)
  image = read(exact=exact)
  encoded, notes = encode(image)
  has_target = goal.get("quality") is None and any(value is not None for value in goal.values())
  if isinstance(encoded, LosslessEncoded) and not exact and has_target:
    exact = True
    with contextlib.suppress(ImageError, MissingExtraError, OutOfReach):
      # That codec knows 16 bits: the file's own, not what was made of them for the lossy one.
      deep = read(exact=True)
      if deep.bits > 8:
        (encoded, notes), image = encode(deep), deep
  drops_colours = exact and not keep_hidden_colour and hides_colours(image.pixels)
  unused = _of_unused(encoded, effort, tune, keep_hidden_colour)
  dropped = "colours under full transparency dropped; --keep_hidden_colour keeps them"
  return Compressed(encoded, [*notes, *unused, *([dropped] if drops_colours else [])])


def check_options(
  *,
  weights: str | None = None,
  tune: str | None = None,
  lossless: bool = False,
  near_lossless: int | None = None,
  effort: int = 0,
  **goal: float | None,
) -> None:
  """Raises an Error for options of `compress_bytes` that do not go together, whatever the image."""
  name, _ = automatic.target_of(
    exact=lossless, near_lossless=near_lossless, tune=tune, effort=effort, **goal
  )
  is_exact = name == "near_lossless"
  if weights is not None:
    lossy, _ = loading.lossy_and_lossless(weights, tune, goal, is_exact)
  else:
    lossy = shipped.lossy(tune, {**goal, "effort": effort}, str)  # which loads nothing
  if not is_exact:
    lossy[0]()


def _of_unused(
  encoded: "Encoded | LosslessEncoded", effort: int, tune: str | None, keep_hidden_colour: bool
) -> list[str]:
  """Notes on options that had no part in the file."""
  if isinstance(encoded, LosslessEncoded):
    unused = [name for name, value in (("effort", effort), ("tune", tune)) if value]
    return [f"{' and '.join(unused)} not used: for lossy files only"] if unused else []
  notes = []
  if effort and encoded.is_finer:
    notes.append("effort not used: beyond quality 100 there is nothing to refine")
  if keep_hidden_colour:
    notes.append("keep_hidden_colour not used: for lossless files only")
  return notes


def _of_stripped(image: ImageFile) -> list[str]:
  """Notes on what leaving out an image's metadata changes."""
  return ["colour profile left out: colours may look different"] if "icc" in image.metadata else []


def _fitting_metadata(
  image: ImageFile, more: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[str]]:
  """What of an image's metadata a .cae file can hold beside more, and notes on the rest."""
  kept: dict[str, bytes] = {}
  notes = []
  room = MAX_METADATA_BYTES - sum(map(len, more.values()))
  for name, value in image.metadata.items():
    if len(value) <= room:
      kept[name] = value
      room -= len(value)
    else:
      notes.append(f"{_METADATA[name]} of {len(value)} bytes left out, too large")
  return kept, notes
