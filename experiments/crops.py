"""Draws crops of photographs beside those of their files, ours and others of the same size.

    python -m experiments.crops --weights=eye3 --crops=kodim20:180:330:240 --output=DIR

Writes crops.png: a row for each crop and rate; columns for the original, for our codec with each
of --looks, and for each of --codecs at the size of our file. Weights of one rate make one row of
each crop, at the rate of their file.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cae_jax.codec import Codec, Encoded
from cae_jax.data.sources import ImageSource, image_names
from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, pictures
from cae_jax.evaluation.codecs import baselines, own_codec
from cae_jax.evaluation.codecs.base import ImageCodec, Missing
from cae_jax.evaluation.names import label
from experiments import cli, evaluation_flags
from experiments.program_flags import Args, Flags

_FORM = "NAME:TOP:LEFT:SIDE"


class Crop(NamedTuple):
  """A square of an image, in pixels."""

  name: str
  top: int
  left: int
  side: int

  def of(self, image: np.ndarray) -> np.ndarray:
    """Returns [side, side, 3] of [H, W, 3]."""
    return image[self.top : self.top + self.side, self.left : self.left + self.side]


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  evaluation_flags.define_flags(flags)
  flags.string("crops", None, f"What to show: {_FORM}, or several with commas.", required=True)
  flags.numbers("rates", [0.15, 0.3], "Bits per pixel of our files.", 0)
  flags.numbers("looks", [0], "Looks of our decoder.", 0, 1)
  flags.string("codecs", "avif_iq,jpeg", "Baselines: all, none, or names with commas.")
  flags.path("output", None, "Folder to write to.", required=True)


def main(args: Args) -> None:
  """Runs the program."""
  codec = own_codec.load(evaluation_flags.weights(args))
  rates = _rates(args, codec)
  others = _others(args)
  originals: dict[str, np.ndarray] = {}
  shown: dict[str, dict[str, tuple[np.ndarray | None, str]]] = {}
  crops = _crops(args.crops)
  names = [crop.name for crop in crops]
  for crop, image in _images(evaluation_flags.images(args), crops):
    for rate in rates:
      encoded = codec.encode(image, bpp=rate)
      row = f"{crop.name}, {f'{encoded.rate_bpp:.3g}' if rate is None else f'{rate:g}'} bpp"
      row += f", at {crop.top}, {crop.left}" if names.count(crop.name) > 1 else ""
      originals[row] = crop.of(image)
      for method, picture in _pictures(codec, others, crop.name, image, encoded, args.looks):
        x_hat = None if picture.x_hat is None else crop.of(picture.x_hat)
        shown.setdefault(method, {})[row] = x_hat, picture.words
        print(f"{row}: {method}: {picture.words}")
  figures.save(figures.methods_on_images(originals, shown), args.output / "crops.png")
  print(f"to look at: {args.output / 'crops.png'}")


def _others(args: Args) -> list[ImageCodec | Missing]:
  """The codecs to show beside ours."""
  if args.codecs == "none":
    return []
  return baselines.baselines(args.codecs, args.bpg_dir, args.avif_speed)


def _rates(args: Args, codec: Codec) -> Sequence[float | None]:
  """The rates to encode at; None is the only one that the weights have."""
  if codec.coder.rate_levels:
    if not args.rates:
      raise UsageError("--rates: expected one or more, such as 0.15,0.3, got none")
    return args.rates
  if args["rates"].present:
    raise UsageError(f"the weights {codec.weights.name!r} have one rate only; leave --rates out")
  return [None]


def _pictures(codec: Codec, others, name, image, encoded: Encoded, looks) -> Iterator[tuple]:
  for look in looks:
    ours = own_codec.coded(codec, look=look)
    setting = encoded.how or ours.settings[0]
    yield label(ours.name), pictures.of_file(ours, setting, name, image, encoded.data)
  for other in others:
    size_bytes = len(encoded.data)
    yield label(other.name), pictures.at_size(other, name, image, size_bytes, search=True)


def _crops(text: str) -> list[Crop]:
  crops = []
  for item in text.split(","):
    name, *numbers = item.rsplit(":", 3)
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
      raise UsageError(f"--crops: expected {_FORM}, got {item!r}")
    crops.append(Crop(name, *map(int, numbers)))
  return crops


def _images(source: ImageSource, crops: list[Crop]) -> Iterator[tuple[Crop, np.ndarray]]:
  names = image_names(source)
  for crop in crops:
    if crop.name not in names:
      raise UsageError(f"--crops: there is no image {crop.name!r}, but {', '.join(names[:5])} …")
    image = source[names.index(crop.name)]["image"]
    if crop.of(image).shape[:2] != (crop.side, crop.side) or not crop.side:
      height, width, _ = image.shape
      raise UsageError(
        f"--crops={':'.join(map(str, crop))}: {crop.name} has {height} rows and {width} columns"
      )
    yield crop, image


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
