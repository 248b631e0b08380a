"""Image files made by the letter of their standards, where Pillow would not make them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

_TYPES = {1: "B", 3: "H", 4: "I"}  # of TIFF: bytes, 16 and 32 bits


def profile(space="sRGB"):
  """An ICC profile that Pillow makes."""
  return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def profile_for(space):
  """One whose header says that it is for "CMYK", "GRAY" or "RGB "; nothing else of it is true."""
  made = bytearray(profile())
  made[16:20] = space.encode()
  return bytes(made)


def exif_block(**tags):
  """An EXIF block of tags by their names in `ExifTags.Base`."""
  exif = Image.Exif()
  for name, value in tags.items():
    exif[ExifTags.Base[name]] = value
  return exif.tobytes()


def encode(image, image_format="PNG", **kwargs):
  """The file that Pillow makes of an image or an array."""
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, image_format, **kwargs)
  return buffer.getvalue()


def png_chunk(kind, data):
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, bits=8, *chunks, colour_type=None):
  """A PNG file of samples [H, W] or [H, W, C], with more chunks before the pixels."""
  samples = samples[..., None] if samples.ndim == 2 else samples
  height, width, channels = samples.shape
  colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels] if colour_type is None else colour_type
  header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
  rows = b"".join(b"\0" + packed(row.reshape(-1), bits) for row in samples)
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    [
      png_chunk(b"IHDR", header),
      *chunks,
      png_chunk(b"IDAT", zlib.compress(rows)),
      png_chunk(b"IEND", b""),
    ]
  )


def packed(values, bits):
  """Values of 1 to 16 bits, the first in the highest bits."""
  places = np.arange(bits - 1, -1, -1)
  return np.packbits((values[:, None].astype(np.uint32) >> places) & 1).tobytes()


def tiff(samples, bits, tags=(), *, photometric=None, deflate=False):
  """A TIFF file of one strip, little-endian; `tags` are (number, type, values)."""
  samples = samples[..., None] if samples.ndim == 2 else samples
  height, width, channels = samples.shape
  if bits == 16:
    strip = samples.astype("<u2").tobytes()
  else:
    strip = b"".join(packed(row.reshape(-1), bits) for row in samples)
  strip = zlib.compress(strip) if deflate else strip
  photometric = (1 if channels < 3 else 2) if photometric is None else photometric
  entries = {
    256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * channels),
    259: (3, [8 if deflate else 1]), 262: (3, [photometric]), 273: (4, [8]), 277: (3, [channels]),
    278: (3, [height]), 279: (4, [len(strip)]),
  }  # fmt: skip
  entries |= {number: (kind, values) for number, kind, values in tags}
  values_at = 8 + len(strip) + 2 + 12 * len(entries) + 4
  directory, values = struct.pack("<H", len(entries)), b""
  for number, (kind, numbers) in sorted(entries.items()):
    data = struct.pack(f"<{len(numbers)}{_TYPES[kind]}", *numbers)
    if len(data) > 4:
      directory += struct.pack("<HHII", number, kind, len(numbers), values_at + len(values))
      values += data
    else:
      directory += struct.pack("<HHI", number, kind, len(numbers)) + data.ljust(4, b"\0")
  head = b"II*\0" + struct.pack("<I", 8 + len(strip))
  return head + strip + directory + bytes(4) + values


def box(kind, data):
  return struct.pack(">I", len(data) + 8) + kind + data


def jp2(samples, colour=None, *boxes, **kwargs):
  """A JPEG 2000 file that Pillow makes, with another colr box and more boxes."""
  data = encode(samples, "JPEG2000", **kwargs)
  start = data.index(b"colr") - 4
  end = start + int.from_bytes(data[start : start + 4], "big")
  header = data.index(b"jp2h") - 4
  colour = data[start:end] if colour is None else box(b"colr", colour)
  size = int.from_bytes(data[header : header + 4], "big") + len(colour) - (end - start)
  return b"".join(
    [data[:header], struct.pack(">I", size), data[header + 4 : start], colour, *boxes, data[end:]]
  )


def with_code_points(data, primaries, transfer):
  """An AVIF or HEIC file with other code points in its nclx."""
  at = data.index(b"colrnclx") + 8
  return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def bmp_5(samples, space, profile_bytes=b""):
  """A BMP file with the header of version 5."""
  old = encode(samples, "BMP")
  pixels = old[54:]
  profile_at = 124 + len(pixels)
  extension = bytes(16) + space + bytes(36 + 12 + 4)
  extension += struct.pack("<III", profile_at, len(profile_bytes), 0)
  header = struct.pack("<I", 124) + old[18:54] + extension
  size = 14 + len(header) + len(pixels) + len(profile_bytes)
  return b"BM" + struct.pack("<III", size, 0, 138) + header + pixels + profile_bytes


def jpeg_segment(marker, data):
  return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(data, segment):
  """A JPEG file with one more segment behind its first."""
  end = 4 + int.from_bytes(data[4:6], "big")
  return data[:end] + segment + data[end:]


def dicom(values, bits=None, *, compressed=False, **attributes):
  """A DICOM file that pydicom writes of [H, W], [H, W, 3] or [frames, H, W]; None: no picture."""
  pydicom = pytest.importorskip("pydicom")
  dataset = pydicom.Dataset()
  dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3"
  dataset.PatientName = "Some^One"
  if values is not None:
    is_colour = values.shape[-1] == 3
    dataset.SamplesPerPixel = 3 if is_colour else 1
    if is_colour:
      dataset.PlanarConfiguration = 0
    elif values.ndim == 3:
      dataset.NumberOfFrames = len(values)
    dataset.Rows, dataset.Columns = values.shape[:2] if is_colour else values.shape[-2:]
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    dataset.BitsAllocated = 8 * values.itemsize
    dataset.BitsStored = dataset.BitsAllocated if bits is None else bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes() + bytes(values.nbytes % 2)
  for name, value in attributes.items():
    setattr(dataset, name, value)
  dataset.file_meta = pydicom.dataset.FileMetaDataset()
  dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  if compressed:
    dataset.compress(pydicom.uid.RLELossless)
  buffer = io.BytesIO()
  dataset.save_as(buffer, enforce_file_format=True)
  return buffer.getvalue()
