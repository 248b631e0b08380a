""".cae files to image files."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from cae_jax.codec import DEFAULT_MAX_PIXELS
from cae_jax.codec.decoded import Damage, Decoded
from cae_jax.codec.info import info_of
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.regions import area_of, shape_of
from cae_jax.coding.bitstream import Container, unpack
from cae_jax.commands import loading, results
from cae_jax.images.files import encode_image
from cae_jax.images.metadata import NAMES, Exif, orientation_note, read_exif
from cae_jax.images.pixels import region_after_turn, region_before_turn, turn
from cae_jax.streams import Place, read_bytes, write_bytes


def decompress_file(
  source: Place,
  target: Place,
  *,
  weights: str | None = None,
  max_pixels: int = DEFAULT_MAX_PIXELS,
  region: Sequence[int] | None = None,
  preview: bool = False,
  salvage: bool = False,
  look: float = 0.0,
  image_format: str = "png",
  overwrite: bool = True,
) -> results.Result:
  """Decompresses a .cae file into an image file, whose suffix decides the format.

  Args:
    source: the .cae file.
    target: the image file to write.
    weights: a shipped name or a file; if None, the shipped ones that the file was made with.
    max_pixels: larger images are refused, as are narrow ones of far more pixels with their padding
      (`FileDecoder.decompress` says when).
    region: top, left, height and width of the image as it is written, to write only that.
    preview: writes a small picture of an eighth of the size.
    salvage: writes what is left of a damaged file.
    look: as of `cae_jax.decompress`.
    image_format: a suffix without its dot; of standard output, which has none.
    overwrite: False leaves a file of the target's name alone.
  Returns:
    What was done.
  Raises:
    Error: the source is no .cae file or damaged, its weights are not at hand, or the target's
      format cannot hold the image.
    OSError: a file cannot be read or written; FileExistsError if there is one, and `overwrite` is
      False.
  """
  container = unpack(read_bytes(source), salvage=salvage)
  codec = loading.codec_for(container.header, weights)
  region = _stored_region(container, region)
  if preview:
    decoded = Decoded(
      codec.preview(container, max_pixels=max_pixels),
      container.metadata,
      info_of(container.outline),
    )
  else:
    decoded = codec.decode(
      container, max_pixels=max_pixels, region=region, salvage=salvage, look=look
    )
  name = target if isinstance(target, Path) else Path(f"{target.value}.{image_format}")
  decoded, turned = upright(decoded)
  data, notes = image_file(name, decoded)
  write_bytes(target, data, overwrite=overwrite)
  height, width = decoded.image.shape[:2]
  what = f"{width} x {height} {results.KINDS[decoded.info.kind]}"
  size = {"output_width": width, "output_height": height}
  damage = {"damage": [part._asdict() for part in decoded.damage]} if salvage else {}
  said = [*map(str, decoded.damage), *turned, *notes]
  if look and isinstance(codec, LosslessCodec):
    said.append("look not used: for lossy files only")
  if weights is not None and codec is not loading.load_codec(weights):
    said.append(f"weights not used: the file was made with {codec.weights.name}")
  return results.result(
    source, target, what, said, decoded.info, output_bytes=len(data), **size, **damage
  )


def _stored_region(container: Container, region: Sequence[int] | None) -> Sequence[int] | None:
  """The region of what a file holds that is a region of what `upright` makes of it."""
  exif = _orienting_exif(container.metadata)
  if region is None or exif is None:
    return region
  orientation = exif.orientation or 1
  height, width = container.header.height, container.header.width
  if orientation in (5, 6, 7, 8):
    height, width = width, height
  rows, columns = area_of(tuple(region), height, width)
  wanted = rows.start, columns.start, *shape_of((rows, columns))
  return region_before_turn(wanted, orientation, height, width)


def _orienting_exif(metadata: Mapping[str, bytes]) -> Exif | None:
  """EXIF that says how to turn an image; None if there is none."""
  exif = read_exif(metadata["exif"]) if "exif" in metadata else None
  return None if exif is None or exif.orientation in (None, 1) else exif


def upright(decoded: Decoded) -> tuple[Decoded, tuple[str, ...]]:
  """Turns an image upright that was saved by Pillow, with its orientation in EXIF; notes that.

  Not every format would keep the orientation, nor every reader apply it.
  """
  exif = _orienting_exif(decoded.metadata)
  if exif is None:
    return decoded, ()
  orientation = exif.orientation or 1
  others = {name: value for name, value in decoded.metadata.items() if name != "exif"}
  metadata = {**others, "exif": exif.block} if exif.tags else others
  image, sides = turn(decoded.image, orientation), (decoded.info.height, decoded.info.width)
  damage = tuple(
    Damage(*region_after_turn(part[:4], orientation, *sides), part.what) for part in decoded.damage
  )
  turned = dataclasses.replace(decoded, image=image, metadata=metadata, damage=damage)
  return turned, (orientation_note(orientation),)


def image_file(name: Path, decoded: Decoded) -> tuple[bytes, tuple[str, ...]]:
  """Makes the bytes of an image file of an image and its metadata, and notes on what is lost.

  Raises:
    Error: the format, by the suffix of the name, cannot hold the image.
  """
  blocks = {argument: decoded.metadata.get(key) for argument, key in NAMES.items()}
  return encode_image(name, decoded.image, **blocks)
