"""Image files to .cae files and back: what the command line does with each file."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cae_jax import api
from cae_jax.codec import DEFAULT_MAX_PIXELS, automatic, info
from cae_jax.codec.decoded import Damage, Decoded
from cae_jax.codec.info import Info, info_of
from cae_jax.codec.kinds import hides_colours
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.regions import area_of, shape_of
from cae_jax.codec.targets import OutOfReach
from cae_jax.coding.bitstream import Container, Header, Kind, unpack
from cae_jax.coding.metadata import MAX_METADATA_BYTES
from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.images import jpeg
from cae_jax.images.files import ImageError, ImageFile, encode_image, read_image, read_rgb
from cae_jax.images.metadata import NAMES, Exif, orientation_note, read_exif
from cae_jax.images.pixels import region_after_turn, region_before_turn, turn
from cae_jax.streams import Place, name_of, read_bytes, write_bytes
from cae_jax.weights import WeightsError, shipped
from cae_jax.weights.shipped import find_for_file

if TYPE_CHECKING:
  from cae_jax.codec.encoding import Encoded

SUFFIX = ".cae"
_KINDS = {
  Kind.GREY: "grey",
  Kind.GREY_ALPHA: "grey with alpha",
  Kind.RGB: "RGB",
  Kind.RGBA: "RGBA",
  Kind.GREY_16: "grey of 16 bits",
  Kind.GREY_ALPHA_16: "grey of 16 bits with alpha",
  Kind.RGB_16: "RGB of 16 bits",
  Kind.RGBA_16: "RGBA of 16 bits",
}
_METADATA = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP"}


@dataclasses.dataclass(frozen=True)
class Result:
  """What was done with a file.

  Attributes:
    words: for people, one line or more.
    fields: for programs, ready for JSON; docs/command-line.md describes them.
  """

  words: str
  fields: Mapping[str, Any]


# Does something with a source, and makes the target of it, if there is one.
Command = Callable[[Place, Any], Result]


class Compressed(NamedTuple):
  """A .cae file, and notes on what of the image file is not in it as it was."""

  encoded: "Encoded | LosslessEncoded"
  notes: list[str]


def compress_file(
  source: Place, target: Place, *, overwrite: bool = True, **options: Any
) -> Result:
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
  return _result(
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
  lossy, closest = _codecs(weights, tune, asked, lossless or near_lossless is not None)
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
    lossy, _ = _codecs(weights, tune, goal, is_exact)
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
) -> Result:
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
  codec = codec_for(container.header, weights)
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
  what = f"{width} x {height} {_KINDS[decoded.info.kind]}"
  size = {"output_width": width, "output_height": height}
  damage = {"damage": [part._asdict() for part in decoded.damage]} if salvage else {}
  said = [*map(str, decoded.damage), *turned, *notes]
  if look and isinstance(codec, LosslessCodec):
    said.append("look not used: for lossy files only")
  if weights is not None and codec is not load_codec(weights):
    said.append(f"weights not used: the file was made with {codec.weights.name}")
  return _result(source, target, what, said, decoded.info, output_bytes=len(data), **size, **damage)


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


def describe_file(source: Place, _: None = None) -> Result:
  """Puts into words what `info` says of a .cae file, in several lines."""
  content = info(read_bytes(source))
  quality = content.quality
  level = "" if quality is None else f", quality {quality:.1f}, tuned for {content.tune}"
  level += ", drawn layer" * content.has_layer
  if content.largest_error is not None:
    level = f", near-lossless, errors of at most {content.largest_error}"
    level = level if content.largest_error else ", lossless"
  metadata = [f"{name} ({size} bytes)" for name, size in content.metadata_bytes.items()]
  lines = [
    f"{name_of(source)}: {content.width} x {content.height} {_KINDS[content.kind]}",
    f"  {content.size_bytes} bytes, {content.rate_bpp:.4f} bpp",
    f"  weights {content.model_id} ({content.model_hash}){level}",
    f"  sections of {', '.join(map(str, content.section_bytes))} bytes",
    f"  metadata: {', '.join(metadata) or 'none'}",
  ]
  return Result("\n".join(lines), _fields(content))


def compare_file(
  source: Path,
  target: Path,
  *,
  weights: str | None = None,
  tune: str | None = None,
  codecs: str = "all",
  bpg_dir: Path | None = None,
  overwrite: bool = True,
  **goal: Any,
) -> Iterator[str]:
  """Writes a page of an image as `compress_file` makes it, and under other codecs at that size.

  Args:
    source: any image file that Pillow reads, taken as 8-bit RGB.
    target: the HTML file to write.
    weights, tune: as of `compress_bytes`.
    codecs, bpg_dir: see `evaluation.codecs.baselines.baselines`.
    overwrite: False leaves a file of the target's name alone.
    **goal: of `Codec.encode`, at most one that is not None.
  Yields:
    A line for each codec, as soon as it is known; the page is there at the end.
  Raises:
    MissingExtraError: packages of the evaluation are not installed.
    Error: the source is no image, or the goal cannot be met.
    OSError: a file cannot be read or written; FileExistsError if there is one, and `overwrite` is
      False.
  """
  try:
    from cae_jax.evaluation import photograph, report
    from cae_jax.evaluation.codecs import baselines
  except ModuleNotFoundError as error:
    if (error.name or "").startswith("cae_jax"):
      raise  # a bug
    raise MissingExtraError(
      f'a comparison needs {error.name}, which is not installed: pip install "cae_jax[compare]"'
    ) from error
  report.plotly_js()  # before the pictures, which take a while
  others = baselines.baselines(codecs, bpg_dir)
  image = read_rgb(source)
  lossy, lossless = _codecs(weights, tune, goal, False)
  if weights is not None and isinstance(load_codec(weights), LosslessCodec):
    raise UsageError(f"the weights {weights} are lossless; expected lossy ones to compare")
  encoded = automatic.encode(image, lossy, lossless, tune=tune, **goal)
  name = unpack(encoded.data).header.model_id
  codec = next(codec for make in (*lossy, lossless) if (codec := make()).weights.name == name)
  found = []
  for picture in photograph.compare(codec, encoded, others, source.stem, image):
    found.append(picture)
    yield photograph.words(picture)
  photograph.write_report(target, source.stem, image, found, overwrite=overwrite)


def _result(
  source: Place, target: Place, what: str, notes: Sequence[str], content: Info, **more: Any
) -> Result:
  """What was done with a source, of which the .cae file has a content, and more that is known."""
  words = "; ".join([f"{name_of(source)} -> {name_of(target)}: {what}", *notes])
  return Result(words, {**_fields(content), **more, "notes": list(notes)})


def _fields(content: Info) -> dict[str, Any]:
  """The content of a .cae file, ready for JSON."""
  return {
    **dataclasses.asdict(content),
    "kind": content.kind.name.lower(),
    "quality": content.quality,
    "rate_bpp": content.rate_bpp,
  }


def load_codec(weights: str) -> Any:
  """Returns the codec of weights (`api.codec`), with compiled programs kept on disk."""
  from cae_jax import compile_cache

  found = api.codec(weights)
  if not isinstance(found, LosslessCodec):  # that one compiles nothing
    compile_cache.enable()
  return found


def _codecs(
  weights: str | None, tune: str | None, goal: Mapping[str, float | None], is_exact: bool
) -> tuple[Sequence[Callable], Callable]:
  """What makes the lossy codecs and the lossless one; some of the weights that are asked for."""
  lossless = functools.partial(load_codec, shipped.LOSSLESS)
  if weights is None:
    return shipped.lossy(tune, goal, load_codec), lossless
  _check_one(weights, tune)
  given = functools.partial(load_codec, weights)
  if not isinstance(load_codec(weights), LosslessCodec):
    if is_exact:
      raise UsageError(f"the weights {weights} are lossy; leave them out, or the lossless file")
    return [given], lossless

  def no_lossy() -> NoReturn:
    raise UsageError(f"the weights {weights} are lossless; give --lossless or --near_lossless=T")

  return [no_lossy], given


def _check_one(weights: str | None, tune: str | None) -> None:
  """Raises UsageError if both are given."""
  if weights is not None and tune is not None:
    raise UsageError("weights and tune both say which weights to take; expected one of them")


def codec_for(header: Header, weights: str | None) -> Any:
  """Returns the codec that a file was made with: of the given weights, or else of shipped ones.

  Raises:
    WeightsError: it was made with neither.
  """
  given = None if weights is None else load_codec(weights)
  if given is not None and given.weights.name == header.model_id:
    return given
  try:
    return load_codec(str(find_for_file(header.model_id, header.model_hash.hex())))
  except WeightsError:
    if given is None:
      raise
    return given  # which says what it expects


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
