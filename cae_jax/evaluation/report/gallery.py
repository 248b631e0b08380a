"""Pictures for the report: crops of an image and of its decoded files, as data of the page."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from cae_jax.evaluation.names import is_baseline, label
from cae_jax.evaluation.pictures import Picture
from cae_jax.evaluation.rd.curves import ms_ssim_db

# With four images of six codecs the page stays below 15 MB.
CROP_SIDE = 448


def image(
  name: str, x_uint8: np.ndarray, pictures: Sequence[Picture], crop_side: int = CROP_SIDE
) -> dict[str, Any]:
  """Prepares one image of the gallery for JSON.

  Args:
    name: of the image.
    x_uint8: uint8 [H, W, 3].
    pictures: of the codecs, of the same shape; those without a picture are listed as missing.
    crop_side: the longest side shown, in pixels; larger images are cropped at the middle.
  Returns:
    name, width, height, top, left (of the crop), words on the crop, missing, and shown: the
    original and the pictures, each with label, words and src (a data URI without loss), the
    pictures with the bytes of their files, and whether these have the size that was asked for.
  """
  top, left, height, width = middle(x_uint8.shape[0], x_uint8.shape[1], crop_side)
  crop = lambda x: x[top : top + height, left : left + width]
  original = {"label": "Original", "words": "8-bit RGB", "kind": "original"}
  shown = [{**original, "src": data_uri(crop(x_uint8))}]
  for picture in pictures:
    if picture.x_hat is not None:
      shown.append({**_caption(picture), "src": data_uri(crop(picture.x_hat))})
  return {
    "name": name,
    "width": width,
    "height": height,
    "words": _crop_words(x_uint8, top, left, height, width),
    "missing": [f"{label(p.record.codec)}: {p.words}" for p in pictures if p.x_hat is None],
    "shown": shown,
  }


def middle(height: int, width: int, side: int) -> tuple[int, int, int, int]:
  """Returns top, left, height and width of the crop at the middle, no side above `side`."""
  crop_height, crop_width = min(height, side), min(width, side)
  return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def data_uri(x_uint8: np.ndarray) -> str:
  """Writes uint8 [H, W, 3] as a data URI of lossless WebP."""
  buffer = io.BytesIO()
  image_of = Image.fromarray(np.ascontiguousarray(x_uint8))
  image_of.save(buffer, "WEBP", lossless=True, quality=60, method=4)
  return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _caption(picture: Picture) -> dict[str, Any]:
  record = picture.record
  words = [f"{record.rate_bpp:.3f} bpp", f"PSNR {record.psnr_db:.2f} dB"]
  if record.ms_ssim is not None and math.isfinite(ms_ssim_db(record.ms_ssim)):
    words.append(f"MS-SSIM {ms_ssim_db(record.ms_ssim):.2f} dB")
  if record.ssimulacra2 is not None:
    words.append(f"SSIMULACRA2 {record.ssimulacra2:.1f}")
  if record.dists is not None:
    words.append(f"DISTS {record.dists:.3f}")
  words.append(f"{record.size_bytes:,} bytes at setting {record.setting}")
  kind = "baseline" if is_baseline(record.codec) else "own"
  # Lines break between the figures, not within them.
  text = "\u00a0· ".join(word.replace(" ", "\u00a0") for word in words)
  return {
    "label": label(record.codec),
    "words": text if record.ok else f"{text}; {record.status}",
    "kind": kind,
    "bytes": record.size_bytes,
    "met": record.ok,
  }


def _crop_words(x: np.ndarray, top: int, left: int, height: int, width: int) -> str:
  if (height, width) == x.shape[:2]:
    return f"whole image, {width} × {height} pixels"
  return (
    f"{width} × {height} pixels at the middle of {x.shape[1]} × {x.shape[0]} "
    f"(from column {left}, row {top}); the figures are of the whole image"
  )
