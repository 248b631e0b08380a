"""TIFF files of 9 to 16 bits a sample: read by tifffile, written here. Pillow does the others."""

import io
import math
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from cae_jax.errors import MissingExtraError
from cae_jax.images import metadata
from cae_jax.images.contents import (
  EXTRA_CHANNELS,
  FLOATING,
  SIGNED,
  Contents,
  Cut,
  first_frame,
  orientation_of_tiff,
  read_tiff_tags,
)
from cae_jax.images.pixels import ImageError, check_size, turn

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG_SIGNATURES = _SIGNATURES[2:]
_COLOURS = {0: 1, 1: 1, 2: 3}  # channels for white is 0, black is 0, RGB
_OTHER_COLOURS = {3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_MOST_CHANNELS = 4
_FLOATING = 3
_UNASSOCIATED_ALPHA = 2
_SMALLER_OR_MASK = 1 | 4  # of NewSubfileType
_ICC_TAG = 34675


def is_ours(data: bytes) -> bool:
  """Says whether this is a TIFF file of more than 8 bits a sample."""
  return data.startswith(_SIGNATURES) and max(_numbers(_tags(data), "BitsPerSample", 1)) > 8


def read(data: bytes) -> tuple[np.ndarray, Contents]:
  """Reads the first page of a file.

  Args:
    data: the file.
  Returns:
    Samples, uint16 [H, W] or [H, W, 2 to 4], upright: the values in the file, but 0 is black; and
    what else the file holds.
  Raises:
    ImageError: other samples than integers of up to 16 bits, other colours than grey and RGB, or a
      part of the file is missing.
    MissingExtraError: tifffile, or what it needs to unpack the samples, is not installed.
  """
  tags = _tags(data)
  profile = tags.get(_ICC_TAG)
  holds = Contents(icc_profile=profile if isinstance(profile, bytes) else None)
  holds.xmp = xmp if isinstance(xmp := tags.get(metadata.XMP_TAG), bytes) else None
  read_tiff_tags(holds, tags, lambda: _exif(data), data)
  (photometric,) = _numbers(tags, "PhotometricInterpretation", 1)
  if _FLOATING in _numbers(tags, "SampleFormat", 1):
    raise ImageError(FLOATING)
  if holds.bits > 16:
    raise ImageError(SIGNED)
  if photometric not in _COLOURS:
    name = _OTHER_COLOURS.get(photometric, f"colours of TIFF's kind {photometric}")
    raise ImageError(f"{name}; convert the file to RGB first")
  samples = _first_page(data)
  if photometric == 0:
    samples[..., 0] = (1 << holds.bits) - 1 - samples[..., 0]
  channels, alphas = samples.shape[2], _numbers(tags, "ExtraSamples", _UNASSOCIATED_ALPHA)
  if channels - _COLOURS[photometric] > (alphas[0] in (1, 2)) and EXTRA_CHANNELS not in holds.cuts:
    holds.cuts.append(EXTRA_CHANNELS)
  holds.cuts += further_pages(data)
  samples = turn(samples, orientation_of_tiff(holds, tags))
  return samples[..., 0] if channels == 1 else samples, holds


def further_pages(data: bytes) -> list[Cut]:
  """Says that a TIFF file of any depth has more pages, if it has, not counting smaller versions."""
  pages, seen, directory = 0, {0}, _header(data)
  try:
    while directory.next not in seen:
      seen.add(directory.next)
      directory = _load(data, directory.next)
      pages += not directory.get(ExifTags.Base.NewSubfileType, 0) & _SMALLER_OR_MASK
  except MemoryError:
    raise
  except Exception:  # a later page is damaged
    return [first_frame(None)]
  return [first_frame(pages)] if pages > 1 else []


def encode(
  samples: np.ndarray,
  *,
  icc_profile: bytes | None = None,
  exif: bytes | None = None,
  xmp: bytes | None = None,
) -> bytes:
  """Writes a file, without packing the samples.

  Args:
    samples: uint8 or uint16 [H, W, 1 to 4]: grey, grey and alpha, RGB or RGBA.
    icc_profile, exif, xmp: blocks to embed.
  """
  height, width, channels = samples.shape
  strip = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
  tags = metadata.tags_for_tiff(exif, xmp)
  if icc_profile is not None:
    tags[_ICC_TAG] = icc_profile
  tags |= {
    ExifTags.Base.ImageWidth: width,
    ExifTags.Base.ImageLength: height,
    ExifTags.Base.BitsPerSample: (8 * samples.itemsize,) * channels,
    ExifTags.Base.Compression: 1,
    ExifTags.Base.PhotometricInterpretation: 1 if channels < 3 else 2,
    ExifTags.Base.StripOffsets: 0,  # after the tags
    ExifTags.Base.SamplesPerPixel: channels,
    ExifTags.Base.RowsPerStrip: height,
    ExifTags.Base.StripByteCounts: len(strip),
    ExifTags.Base.PlanarConfiguration: 1,
  }
  if channels in (2, 4):
    tags[ExifTags.Base.ExtraSamples] = _UNASSOCIATED_ALPHA
  directory = ImageFileDirectory_v2(prefix=b"II")
  for tag, value in tags.items():
    directory[tag] = value
  file = io.BytesIO()
  directory.save(file)
  return file.getvalue() + strip


def _tags(data: bytes) -> ImageFileDirectory_v2:
  """The first directory."""
  return _load(data, _header(data).next)


def _load(data: bytes, start: int) -> ImageFileDirectory_v2:
  tags = _header(data)
  file = io.BytesIO(data)
  file.seek(start)
  tags.load(file)
  return tags


def _exif(data: bytes) -> Image.Exif:
  """The same as EXIF, with the directories in it."""
  exif = Image.Exif()
  exif.bigtiff = data.startswith(_BIG_SIGNATURES)
  exif.endian = "<" if data.startswith(b"II") else ">"
  exif.load_from_fp(io.BytesIO(data), _header(data).next)
  return exif


def _header(data: bytes) -> ImageFileDirectory_v2:
  """A directory without tags; `next` is where the first one begins."""
  return ImageFileDirectory_v2(data[: 16 if data.startswith(_BIG_SIGNATURES) else 8])


def _numbers(tags: ImageFileDirectory_v2, name: str, default: Any = None) -> tuple[int, ...]:
  value = tags.get(ExifTags.Base[name], default)
  return value if isinstance(value, tuple) else (value,)


def _first_page(data: bytes) -> np.ndarray:
  """Samples [H, W, C] of the first page."""
  try:
    import tifffile
  except ModuleNotFoundError as error:
    raise MissingExtraError(
      "TIFF of more than 8 bits is read exactly by tifffile, which is not installed: "
      'pip install "cae_jax[tiff]"'
    ) from error
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page: Any = file.pages.first
    _check_shape(page)
    if not _is_whole(page, len(data)):  # else there would be zeros, or whatever lies in memory
      raise ImageError("strips or tiles of samples are missing")
    try:
      samples = page.asarray(squeeze=False)
    except (ValueError, NotImplementedError) as error:
      if "requires the 'imagecodecs' package" not in str(error):
        raise
      raise MissingExtraError(
        f"this TIFF file is unpacked by imagecodecs ({error}), which is not installed: "
        'pip install "cae_jax[tiff]"'
      ) from error
  samples = samples[:, 0]  # [planes, H, W, C], where planes or channels are 1
  return np.concatenate(samples, axis=-1) if len(samples) > 1 else samples[0]


def _check_shape(page: Any) -> None:
  """Raises ImageError if there is no memory to be spent on the samples of a page."""
  planes, depth, height, width, channels = page.shaped
  check_size(width, height)
  check_size(page.tilewidth * page.tiledepth, page.tilelength)  # tiles are unpacked whole
  if depth != 1 or page.dtype != np.uint16:
    raise ImageError(f"samples of type {page.dtype} in {depth} layers; expected a flat picture")
  if planes * channels > _MOST_CHANNELS:
    raise ImageError(EXTRA_CHANNELS.way_out)


def _is_whole(page: Any, size: int) -> bool:
  """Whether all samples lie in a file of `size` bytes."""
  places = list(zip(page.dataoffsets, page.databytecounts))
  is_complete = page.is_contiguous or len(places) >= math.prod(page.chunked)
  return is_complete and all(at > 0 and count > 0 and at + count <= size for at, count in places)
