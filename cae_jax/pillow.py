"""Makes Pillow read and write .cae files: `import cae_jax.pillow` is all that it takes.

    from PIL import Image
    import cae_jax.pillow

    image = Image.open("a.cae")  # size, mode and metadata; pixels when they are asked for
    image.save("b.cae", bpp=0.5)

docs/pillow.md says what is read and written. Whatever is wrong is an OSError, as of every format of
Pillow; only options that make no sense are a UsageError, which is a ValueError.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, SupportsFloat

import numpy as np
from PIL import Image, ImageFile

from cae_jax import api
from cae_jax.codec.small import PREVIEW
from cae_jax.codec.targets import TooManyPixels
from cae_jax.coding.bitstream import MAGIC, Container, unpack
from cae_jax.errors import Error, UsageError
from cae_jax.images.metadata import NAMES
from cae_jax.images.pixels import from_pillow, to_8_bits

FORMAT = "CAE"
EXTENSION = ".cae"
MIME_TYPE = "image/x-cae"
OPTIONS = (
  "quality", "bpp", "psnr", "ssimulacra2", "size_bytes", "lossless", "near_lossless", "tune",
  "effort", "keep_hidden_colour",
)  # fmt: skip
_TARGETS = OPTIONS[:7]
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class CaeImageFile(ImageFile.ImageFile):
  """A .cae file as Pillow opens it; threads may share it.

  16-bit grey is of mode I;16. Pillow has no 16-bit colours: they are reduced to 8, and
  `info["bits"]` says 16.
  """

  format = FORMAT
  format_description = "Learned image compression (cae_jax)"
  # Also of images that were copied or unpickled, which have their pixels.
  _container: Container | None = None
  _is_preview = False
  _loading = threading.RLock()

  def _open(self) -> None:
    assert self.fp is not None
    with _as_os_errors():
      container = unpack(self.fp.read(), salvage=ImageFile.LOAD_TRUNCATED_IMAGES)
    header = container.header
    kind = header.kind
    bits = 8 * np.dtype(kind.dtype).itemsize
    self._size = header.width, header.height
    self._mode = "I;16" if (bits, kind.channels) == (16, 1) else _MODES[kind.channels]
    self._loading = threading.RLock()  # of this image alone
    self._container = container
    if bits == 16:
      self.info["bits"] = bits
    for name, key in NAMES.items():
      if key in container.metadata:
        self.info[name] = container.metadata[key]

  def draft(self, mode: Any, size: tuple[int, int] | None) -> Any:
    """Lets the image be a preview of an eighth of its size, if that is no smaller than `size`.

    `Image.thumbnail` asks for it.

    Returns:
      The mode, and the box that the whole image has in the preview; None if nothing changes, such
      as with `ImageFile.LOAD_TRUNCATED_IMAGES`: a preview fills nothing.
    """
    width, height = (-(-side // PREVIEW) for side in self.size)
    if size is None or self._container is None or self._is_preview:
      return None
    if ImageFile.LOAD_TRUNCATED_IMAGES:
      return None
    # As large as the whole image fits into that box; half a pixel is the rounding of thumbnails.
    scale = min(size[0] / self.width, size[1] / self.height)
    if width + 0.5 < scale * self.width or height + 0.5 < scale * self.height:
      return None
    box = 0, 0, self.width / PREVIEW, self.height / PREVIEW
    self._size, self._is_preview = (width, height), True
    return self.mode, box

  def load(self, look: SupportsFloat | None = None) -> Any:
    """Decodes the pixels, once; raises OSError if the file is damaged within.

    With `ImageFile.LOAD_TRUNCATED_IMAGES` what is damaged is filled.

    Args:
      look: as of `cae_jax.decompress`, for the first call; 0 if not given. (As `load(scale=2)` of
        Pillow's EPS files says how they are drawn.)
    """
    with self._loading:
      if self._container is None and look is not None:
        raise UsageError("the pixels are there already; give a look to the first load")
      if self._container is not None:
        with _as_os_errors():
          pixels = self._decode(self._container, 0 if look is None else look)
        samples = pixels.astype("<u2") if self.mode == "I;16" else to_8_bits(pixels)
        self.im = Image.frombytes(self.mode, self.size, samples.tobytes()).im
        self._container = None
        if self._exclusive_fp and self.fp is not None:
          self.fp.close()
          self.fp = None
      return super().load()

  def _decode(self, container: Container, look: SupportsFloat) -> np.ndarray:
    limit = sys.maxsize if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS
    # Opening has held it against the size; here it bounds how far a narrow image is padded.
    most = max(container.header.height * container.header.width, limit)
    if self._is_preview:
      if look:
        raise UsageError("a preview has no look; load the image before a draft or thumbnail")
      return api.preview(container, max_pixels=most)
    salvage = ImageFile.LOAD_TRUNCATED_IMAGES
    return api.decode(container, max_pixels=most, salvage=salvage, look=look).image


def _accept(prefix: bytes) -> bool:
  return prefix.startswith(MAGIC)


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
  given: dict[str, Any] = image.encoderinfo
  if "bytes" in given:
    raise UsageError(f"bytes={given['bytes']!r}: expected size_bytes={given['bytes']!r}")
  options = {name: given[name] for name in OPTIONS if given.get(name) is not None}
  with _as_os_errors():
    pixels = from_pillow(image)
    if pixels.dtype == np.uint16 and not {*options} & {*_TARGETS}:
      options["lossless"] = True  # no lossy file holds 16 bits
    data = api.compress(pixels, metadata=_metadata(given, image), **options)
  fp.write(data)


def _save_all(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
  """Saves an image of one frame, as programs ask for that save all frames of every format."""
  more = image.encoderinfo.get("append_images") or ()
  frames = getattr(image, "n_frames", 1) + sum(1 for _ in more)
  if frames > 1:
    raise UsageError(f"a .cae file holds one picture, got {frames}; save them one by one")
  _save(image, fp, filename)


def _metadata(given: dict[str, Any], image: Image.Image) -> dict[str, bytes]:
  """What was given for a file; without a word on it, the image keeps its profile, as in Pillow."""
  blocks = {"icc_profile": image.info.get("icc_profile"), **given}
  kept = {}
  for name, key in NAMES.items():
    block = blocks.get(name)
    if isinstance(block, Image.Exif):
      block = block.tobytes()
    elif isinstance(block, str):
      try:
        block = block.encode("utf-8")
      except UnicodeEncodeError as error:
        raise UsageError(f"{name} {block!r}: expected text of Unicode, or bytes") from error
    if block:
      kept[key] = block
  return kept


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
  try:
    yield
  except TooManyPixels as error:
    raise OSError(f"{error} (twice Image.MAX_IMAGE_PIXELS)") from error
  except UsageError:
    raise
  except Error as error:
    raise OSError(str(error)) from error


Image.register_open(FORMAT, CaeImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME_TYPE)
