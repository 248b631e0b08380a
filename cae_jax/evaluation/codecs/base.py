"""What every codec of the evaluation offers, ours and the baselines alike."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from cae_jax.errors import Error
from cae_jax.evaluation.records import Setting


class CodecError(Error, RuntimeError):
  """A codec could not encode or decode this image; the evaluation goes on with the next."""


class Unsupported(CodecError):
  """The codec has no files of this kind of image: its depth, or its channels."""


class ImageCodec(Protocol):
  """A codec of images with one quality setting.

  Lossy codecs take uint8 [H, W, 3]. Those that keep a bound take uint8 and uint16, [H, W] and
  [H, W, 2 to 4] (the even ones with alpha), or raise `Unsupported`.

  Attributes:
    name: short, lower case, as in `--codecs`.
    version: of the encoder and decoder, with the options that are always on.
    settings: a sweep of fixed settings, for rate-distortion curves.
    search: every setting worth trying, smallest file first, to meet a given size.
    keeps_bound: a setting is the largest error of a sample, in levels, and 0 is lossless; every
      decoded file is held to it.
  """

  @property
  def name(self) -> str: ...
  @property
  def version(self) -> str: ...
  @property
  def settings(self) -> tuple[Setting, ...]: ...
  @property
  def search(self) -> tuple[Setting, ...]: ...
  @property
  def keeps_bound(self) -> bool: ...

  def encode(self, x: np.ndarray, setting: Any, /) -> bytes:
    """Encodes an image as the bytes of a whole file."""

  def decode(self, data: bytes, /) -> np.ndarray:
    """Decodes the bytes of a file."""


@dataclasses.dataclass(frozen=True)
class FileCodec:
  """An `ImageCodec` made of two functions.

  Attributes:
    encoder: (image, setting) -> bytes.
    decoder: bytes -> image.
  """

  name: str
  version: str
  settings: tuple[Setting, ...]
  search: tuple[Setting, ...]
  encoder: Callable[[np.ndarray, Any], bytes]
  decoder: Callable[[bytes], np.ndarray]
  keeps_bound: bool = False

  def encode(self, x: np.ndarray, setting: Any, /) -> bytes:
    """Encodes; any failure of the library becomes a `CodecError` with the codec's name."""
    try:
      return self.encoder(np.ascontiguousarray(x), setting)
    except Unsupported:
      raise
    except (OSError, ValueError, RuntimeError) as error:
      raise CodecError(f"{self.name} at {setting} could not encode: {error}") from error

  def decode(self, data: bytes, /) -> np.ndarray:
    """Decodes; any failure of the library becomes a `CodecError` with the codec's name."""
    try:
      return self.decoder(data)
    except (OSError, ValueError, RuntimeError) as error:
      raise CodecError(f"{self.name} could not decode its own file: {error}") from error


@dataclasses.dataclass(frozen=True)
class Missing:
  """A codec that cannot run here: a row of the tables that says so.

  Attributes:
    name: as in `--codecs`.
    reason: what is not there.
    how_to_get: the command or the place.
  """

  name: str
  reason: str
  how_to_get: str

  @property
  def status(self) -> str:
    """The row's text."""
    return f"not run: {self.reason}; {self.how_to_get}"


# A folder with programs, as a flag gives it.
Folder = str | os.PathLike | pathlib.Path | None
