"""DICOM files: the stored values of one picture, without rescaling or windows."""

import io
import warnings
import zlib
from typing import Any

import numpy as np

from cae_jax.errors import MissingExtraError
from cae_jax.images.contents import Contents, first_frame
from cae_jax.images.pixels import ImageError, check_size

_MAGIC, _MAGIC_AT = b"DICM", 128
_MAX_INFLATED_BYTES = 1 << 28  # of files that are deflated as a whole
_WHITE_IS_0 = "MONOCHROME1"
# The last two are transforms inside of JPEG 2000, which its decoders undo.
_COLOURS = (_WHITE_IS_0, "MONOCHROME2", "RGB", "YBR_RCT", "YBR_ICT")


def is_ours(data: bytes) -> bool:
  """Says whether this is a DICOM file."""
  return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def read(data: bytes) -> tuple[np.ndarray, Contents]:
  """Reads the values of a file's picture as they are stored.

  Args:
    data: the file.
  Returns:
    Samples, uint8 or uint16 [H, W] or, of colours, [H, W, 3]; and what else the file holds.
    Half of the range is added to signed values, with a note.
  Raises:
    ImageError: no picture, or other samples than grey and RGB of 1 to 16 bits.
    MissingExtraError: pydicom, or what it needs to unpack the samples, is not installed.
  """
  try:
    from pydicom import pixels
  except ModuleNotFoundError as error:
    raise MissingExtraError(
      'DICOM files are read by pydicom, which is not installed: pip install "cae_jax[medical]"'
    ) from error
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of values that are none of the picture's
    header = _header(data)
    holds = _contents(header)
    try:
      values = pixels.pixel_array(header, index=0, raw=True, correct_unused_bits=False)
    except RuntimeError as error:
      if "missing dependencies" not in str(error):
        raise
      raise MissingExtraError(
        f"samples packed as {header.file_meta.TransferSyntaxUID.name} need a package that is not "
        'installed: pip install "cae_jax[medical]"'
      ) from error
  return _unsigned(_used_bits(values, holds), holds), holds


def _header(data: bytes) -> Any:
  """Reads a file as pydicom does, which inflates what is deflated as a whole to any size."""
  from pydicom import dcmread, filereader, uid

  file = io.BytesIO(data)
  filereader.read_preamble(file, force=False)
  meta = filereader._read_file_meta_info(file)
  if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
    return dcmread(io.BytesIO(data))
  inflater = zlib.decompressobj(-zlib.MAX_WBITS)
  inflated = inflater.decompress(file.read(), _MAX_INFLATED_BYTES)
  if not inflater.eof:
    raise ImageError(
      f"deflated data that break off or have more than {_MAX_INFLATED_BYTES} bytes; inflate the "
      "file first, with `dcmconv +te`"
    )
  header = filereader.read_dataset(io.BytesIO(inflated), False, True)
  header.file_meta = meta
  return header


def _contents(header: Any) -> Contents:
  """What a header says; raises ImageError if this is no picture that can be read."""
  if "PixelData" not in header:
    raise ImageError("DICOM without a picture of integers")
  bits, colours = int(header.BitsStored), str(header.PhotometricInterpretation)
  if not 0 < bits <= header.BitsAllocated <= 16:
    raise ImageError(f"{header.BitsAllocated}-bit integers; convert the file to 16 bits first")
  if header.HighBit != bits - 1:
    raise ImageError(f"{bits} bits a sample up to bit {header.HighBit}; expected the lowest ones")
  if colours not in _COLOURS:
    raise ImageError(f"colours of DICOM's kind {colours}; convert the file to RGB first")
  check_size(int(header.Columns), int(header.Rows))
  profile = header.get("ICCProfile")
  holds = Contents(bits=bits, icc_profile=bytes(profile) if profile else None)
  holds.lost.append("the DICOM header")
  if colours == _WHITE_IS_0:
    holds.notes.append("0 for white, as stored")
  frames = int(header.get("NumberOfFrames") or 1)
  if frames > 1:
    holds.cuts.append(first_frame(frames))
  return holds


def _used_bits(values: np.ndarray, holds: Contents) -> np.ndarray:
  """Takes off the bits above those of samples, in which old files hold overlays."""
  unused = 8 * values.itemsize - holds.bits
  used = values << unused >> unused  # of signed values, the sign goes where they were
  if (used != values).any():
    holds.lost.append("what lies in unused bits")
  return used


def _unsigned(values: np.ndarray, holds: Contents) -> np.ndarray:
  """Values as uint8 or uint16; what this changes is noted."""
  bits, added = holds.bits, 0
  if values.dtype.kind == "i":
    added = 1 << bits - 1
    holds.notes.append(f"signed: {added} added")
  if bits < 8:
    holds.notes.append(f"{bits}-bit values, as stored")
  return (values.astype(np.int32) + added).astype(np.uint8 if bits <= 8 else np.uint16)
