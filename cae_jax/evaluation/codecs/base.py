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


class ImageCodec(Protocol):
  """A lossy codec of 8-bit RGB images with one quality setting.

  Attributes:
    name: short, lower case, as in `--codecs`.
    version: of the encoder and decoder, with the options that are always on.
    settings: a sweep of fixed settings, for rate-distortion curves.
    search: every setting worth trying, smallest file first, to meet a given size.
  """

  @property
  def name(self) -> str: ...
  @property
  def version(self) -> str: ...
  @property
  def settings(self) -> tuple[Setting, ...]: ...
  @property
  def search(self) -> tuple[Setting, ...]: ...

  def encode(self, x_uint8: np.ndarray, setting: Any, /) -> bytes:
    """Encodes uint8 [H, W, 3] as the bytes of a whole file."""

  def decode(self, data: bytes, /) -> np.ndarray:
    """Decodes the bytes of a file to uint8 [H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class FileCodec:
  """An `ImageCodec` made of two functions.

  Attributes:
    encoder: (uint8 [H, W, 3], setting) -> bytes.
    decoder: bytes -> uint8 [H, W, 3].
  """

  name: str
  version: str
  settings: tuple[Setting, ...]
  search: tuple[Setting, ...]
  encoder: Callable[[np.ndarray, Any], bytes]
  decoder: Callable[[bytes], np.ndarray]

  def encode(self, x_uint8: np.ndarray, setting: Any, /) -> bytes:
    """Encodes; any failure of the library becomes a `CodecError` with the codec's name."""
    try:
      return self.encoder(np.ascontiguousarray(x_uint8), setting)
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
