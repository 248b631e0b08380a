"""Lossless codecs at their strong settings, near-lossless where they can be; setting = error bound.

AVIF and HEVC code R, G and B as they are: with a colour transform AVIF was measured to be off by 1
or 2 levels. FLIF was found in no package. A distance of lossy JPEG XL bounds no error: 17 levels
where its file is larger than a lossless one.
"""

import functools
import importlib
import importlib.metadata
import io
import types
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, features

from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs.base import FileCodec, Missing, Unsupported
from cae_jax.evaluation.names import LOSSLESS_LABELS
from cae_jax.evaluation.samples import depth

Encoder = Callable[[np.ndarray, int], bytes]
Decoder = Callable[[bytes], np.ndarray]
_EXTRA = 'pip install "cae_jax[codecs]"'
MAX_BOUND = 127
# CharLS applies the inverse of HP's colour transforms 1 to 3 where a segment APP8 asks for it.
_HP_SEGMENT = b"\xff\xe8\x00\x07mrfx"


def lossless_codecs(
  names: str | Sequence[str] = "all", bounds: Sequence[int] = ()
) -> list[FileCodec | Missing]:
  """Returns lossless codecs, those that can be near-lossless with further settings.

  Args:
    names: "all", "none", names with commas between them, or a sequence of names; see
      `LOSSLESS_LABELS`.
    bounds: largest errors of a sample, 1 to `MAX_BOUND`, to measure besides 0.
  Returns:
    A codec for each name, or a `Missing` that says what is not there and how to get it.
  Raises:
    UsageError: a name is unknown.
  """
  if isinstance(names, str):
    known = {"all": list(LOSSLESS_LABELS), "none": []}
    names = known[names] if names in known else [name.strip() for name in names.split(",")]
  unknown = [name for name in names if name not in LOSSLESS_LABELS]
  if unknown:
    expected = ",".join(LOSSLESS_LABELS)
    raise UsageError(f"unknown codec {unknown[0]!r}; expected 'all', 'none' or some of {expected}")
  return [_FACTORIES[name](name, tuple(bounds)) for name in names]


def bounded(
  name: str, version: str, bounds: Sequence[int], encoder: Encoder, decoder: Decoder
) -> FileCodec:
  """Makes a codec whose settings are error bounds: 0, then those given."""
  settings = tuple(sorted({0, *bounds}))
  return FileCodec(name, version, settings, settings[::-1], encoder, decoder, keeps_bound=True)


def _png(name: str, bounds) -> FileCodec | Missing:
  return _by_imagecodecs(
    name,
    ("PNG",),
    "png_version",
    "level 9, filters chosen row by row",
    lambda library, x, _: library.png_encode(x, level=9),
    lambda library, data: library.png_decode(data),
  )


def _png_oxipng(name: str, bounds) -> FileCodec | Missing:
  try:
    oxipng = importlib.import_module("oxipng")
  except ImportError as error:
    way_out = "pip install pyoxipng; from Python 3.14 on that builds it, by Rust"
    return Missing(name, f"oxipng cannot be imported ({error})", way_out)
  version = f"pyoxipng {importlib.metadata.version('pyoxipng')}; level 6, threads of the machine"
  return _by_imagecodecs(
    name,
    ("PNG",),
    "png_version",
    version,
    lambda library, x, _: oxipng.optimize_from_memory(bytes(library.png_encode(x)), level=6),
    lambda library, data: library.png_decode(data),
  )


def _jpegls(name: str, bounds) -> FileCodec | Missing:
  return _by_imagecodecs(
    name,
    ("JPEGLS",),
    "jpegls_version",
    "lossless RGB by the best of HP's colour transforms; near-lossless without one",
    _encode_jpegls,
    lambda library, data: library.jpegls_decode(data),
    bounds,
  )


def _encode_jpegls(library, x: np.ndarray, bound: int) -> bytes:
  if x.shape[2:] == (2,):
    raise Unsupported("no grey with alpha")
  plain = bytes(library.jpegls_encode(x, level=bound))
  # Near-lossless, R and B would have the errors of two samples. Below 16 bits CharLS's inverse is
  # another one.
  if bound or x.shape[2:] != (3,) or depth(x) not in (8, 16):
    return plain
  files = [plain]
  for number in (1, 2, 3):
    data = bytes(library.jpegls_encode(_hp_transform(x, number)))
    files.append(data[:2] + _HP_SEGMENT + bytes([number]) + data[2:])
  return min(files, key=len)


def _hp_transform(x: np.ndarray, number: int) -> np.ndarray:
  """One of HP's reversible colour transforms, modulo the range of the samples."""
  size = 1 << 8 * x.itemsize
  r, g, b = np.moveaxis(x.astype(np.int64), -1, 0)
  half = size // 2
  if number == 1:
    planes = [r - g + half, g, b - g + half]
  elif number == 2:
    planes = [r - g + half, g, b - ((r + g) >> 1) - half]
  else:
    blue, red = (b - g + half) % size, (r - g + half) % size
    planes = [g + ((blue + red) >> 2) - size // 4, blue, red]
  return np.ascontiguousarray(np.stack(planes, -1) % size).astype(x.dtype)


def _jpeg2000(name: str, bounds) -> FileCodec | Missing:
  return _by_imagecodecs(
    name,
    ("JPEG2K",),
    "jpeg2k_version",
    "5/3 wavelet, reversible colour transform, codestream alone, one thread",
    lambda library, x, _: library.jpeg2k_encode(
      x, level=0, reversible=True, codecformat="j2k", bitspersample=depth(x), numthreads=1
    ),
    lambda library, data: library.jpeg2k_decode(data, numthreads=1),
  )


def _avif(name: str, bounds) -> FileCodec | Missing:
  return _by_imagecodecs(
    name,
    ("AVIF",),
    "avif_version",
    "4:4:4, RGB without a colour transform, speed 4, one thread",
    _encode_avif,
    lambda library, data: library.avif_decode(data, numthreads=1),
  )


def _encode_avif(library, x: np.ndarray, _) -> bytes:
  bits = next((bits for bits in (8, 10, 12) if bits >= depth(x)), None)
  if bits is None:
    raise Unsupported("12 bits at most")
  return library.avif_encode(x, level=100, speed=4, bitspersample=bits, numthreads=1)


def _webp(name: str, bounds) -> FileCodec | Missing:
  if not features.check("webp"):
    return Missing(name, "this Pillow was built without libwebp", "pip install --upgrade pillow")
  version = f"Pillow, libwebp {features.version('webp')}; method 6, quality 100, exact, one thread"
  return bounded(name, version, (), _encode_webp, _decode_by_pillow)


def _encode_webp(x: np.ndarray, _) -> bytes:
  _require_8_bits(x)
  buffer = io.BytesIO()
  options = {"lossless": True, "quality": 100, "method": 6, "exact": True}
  Image.fromarray(x).save(buffer, "WEBP", **options)
  return buffer.getvalue()


def _decode_by_pillow(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    return np.array(image)


def _heic(name: str, bounds) -> FileCodec | Missing:
  install = _EXTRA
  try:
    library = importlib.import_module("pillow_heif")
  except ImportError as error:
    return Missing(name, f"pillow-heif cannot be imported ({error})", install)
  info = library.libheif_info()
  if not info["HEIF"]:
    return Missing(name, "this pillow-heif was built without an HEVC encoder", install)

  def encode(x, _):
    _require_8_bits(x)
    if x.shape[2:] != (3,):
      raise Unsupported("RGB only")
    buffer = io.BytesIO()
    height, width, _ = x.shape
    image = library.from_bytes("RGB", (width, height), x.tobytes())
    image.save(buffer, quality=-1, chroma=444, matrix_coefficients=0, tile_size=0)
    return buffer.getvalue()

  version = (
    f"pillow-heif {library.__version__}, libheif {info['libheif']}, {info['HEIF']}; lossless, "
    "4:4:4, RGB without a colour transform"
  )
  return bounded(
    name, version, (), encode, lambda data: np.array(library.open_heif(io.BytesIO(data)))
  )


def _jxl(effort: int, name: str, bounds) -> FileCodec | Missing:
  return _by_imagecodecs(
    name,
    ("JPEGXL",),
    "jpegxl_version",
    f"modular, effort {effort}, one thread; near-lossless: a byte with the bound, then a file of "
    "the samples over 2 * bound + 1, rounded",
    functools.partial(_encode_jxl, effort),
    _decode_jxl,
    bounds,
  )


def _encode_jxl(effort: int, library, x: np.ndarray, bound: int) -> bytes:
  if bound:
    step = 2 * bound + 1
    x = ((x.astype(np.int64) + bound) // step).astype(x.dtype)
  bits = {} if x.dtype == np.uint8 else {"bitspersample": depth(x)}
  data = library.jpegxl_encode(x, lossless=True, effort=effort, numthreads=1, **bits)
  return bytes([bound] if bound else []) + bytes(data)


def _decode_jxl(library, data: bytes) -> np.ndarray:
  # Files of JPEG XL begin with the byte 0 or 255.
  bound = data[0] if 0 < data[0] < 255 else 0
  x = np.asarray(library.jpegxl_decode(data[1:] if bound else data, numthreads=1))
  top = np.iinfo(x.dtype).max
  return np.minimum(x.astype(np.int64) * (2 * bound + 1), top).astype(x.dtype)


def _by_imagecodecs(
  name: str,
  parts: Sequence[str],
  version_of: str,
  words: str,
  encode: Callable[[types.ModuleType, np.ndarray, int], bytes],
  decode: Callable[[types.ModuleType, bytes], np.ndarray],
  bounds: Sequence[int] = (),
) -> FileCodec | Missing:
  """A codec of the package imagecodecs, if that has the parts it needs."""
  try:
    library = importlib.import_module("imagecodecs")
  except ImportError as error:
    return Missing(name, f"imagecodecs cannot be imported ({error})", _EXTRA)
  lacking = [part for part in parts if not getattr(library, part).available]
  if lacking:
    return Missing(name, f"this imagecodecs was built without {lacking[0]}", _EXTRA)
  return bounded(
    name,
    f"imagecodecs {library.__version__}, {getattr(library, version_of)()}; {words}",
    bounds,
    # Its check of strides refuses those that NumPy gives an axis of length one.
    lambda x, bound: bytes(encode(library, x.copy(), bound)),
    lambda data: np.asarray(decode(library, data)),
  )


def _require_8_bits(x: np.ndarray) -> None:
  if x.dtype != np.uint8:
    raise Unsupported("8 bits only")


_FACTORIES: Mapping[str, Callable[[str, Sequence[int]], FileCodec | Missing]] = {
  "png": _png,
  "png_oxipng": _png_oxipng,
  "jpegls": _jpegls,
  "jpeg2000_lossless": _jpeg2000,
  "heic_lossless": _heic,
  "avif_lossless": _avif,
  "webp_lossless": _webp,
  "jxl_e7": functools.partial(_jxl, 7),
  "jxl_e9": functools.partial(_jxl, 9),
}
