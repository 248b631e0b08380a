"""Pairs of pictures that are the same on every machine, and what reference programs say of them.

python -m tests.picture_pairs FOLDER_OF_PROGRAMS

The programs are those of libjxl-devtools 0.11 (Debian 13). It writes `picture_pairs.json`, which
the tests of our own metrics read. Pictures are photographs in scikit-image's wheel and synthetic
ones; what distorts them is whole numbers or rounds to them, so that no library's version matters.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.ndimage
import skimage.data

from cae_jax.evaluation import perceptual

RECORDED = Path(__file__).parent / "picture_pairs.json"
PROGRAMS = "libjxl-devtools 0.11.2-0.1~deb13u3"


def pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """(name, original, distorted), both uint8 [H, W, 3]."""
  for picture, x in _pictures().items():
    for distortion, distort in _DISTORTIONS.items():
      yield f"{picture}, {distortion}", x, distort(x)


def reference_ssimulacra2(
  x_uint8: np.ndarray, x_hat_uint8: np.ndarray, folder: str | None = None
) -> float:
  """What libjxl's own program says of [H, W, 3]; it is in the folder, or on the PATH."""
  program = shutil.which("ssimulacra2", path=folder)
  assert program, f"no program ssimulacra2 in {folder or 'the PATH'}"
  return float(perceptual._compare(program, x_uint8, x_hat_uint8))


def _pictures() -> dict[str, np.ndarray]:
  astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
  return {
    "astronaut": astronaut[40:239, 100:367],  # odd sides
    "coffee": coffee[101:300, 200:467],
    "waves": _waves(199, 267),
    "tiny": coffee[150:158, 300:309],
  }


def _waves(height: int, width: int) -> np.ndarray:
  """Saturated colours, black and white, all frequencies."""
  y, x = np.mgrid[:height, :width]
  phase = np.stack([x * x / width, y * y / height, x * y / (height + width)], axis=-1)
  return np.rint(127.5 + 127.5 * np.clip(1.5 * np.cos(phase), -1, 1)).astype(np.uint8)


def _noise(size: int) -> Callable[[np.ndarray], np.ndarray]:
  def add(x):
    rng = np.random.Generator(np.random.PCG64(size))
    return np.clip(x + rng.integers(-size, size + 1, x.shape), 0, 255).astype(np.uint8)

  return add


def _one_level(x: np.ndarray) -> np.ndarray:
  return x ^ (np.indices(x.shape).sum(axis=0) % 5 == 0).astype(np.uint8)


def _blurred(x: np.ndarray) -> np.ndarray:
  return scipy.ndimage.uniform_filter(x, (5, 5, 1), output=np.uint8)


def _blocks(step: int) -> Callable[[np.ndarray], np.ndarray]:
  """The DCT of blocks of 8 x 8, quantised as in JPEG, each channel on its own."""

  def distort(x):
    height, width = x.shape[:2]
    padded = np.pad(x, [(0, -height % 8), (0, -width % 8), (0, 0)], mode="edge") - 128.0
    blocks = padded.reshape(len(padded) // 8, 8, -1, 8, 3)
    steps = step * (1 + np.add.outer(np.arange(8), np.arange(8))[:, None, :, None])
    quantised = np.rint(scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho") / steps) * steps
    decoded = scipy.fft.idctn(quantised, axes=(1, 3), norm="ortho").reshape(padded.shape)
    return np.clip(np.rint(decoded[:height, :width] + 128), 0, 255).astype(np.uint8)

  return distort


def _tinted(x: np.ndarray) -> np.ndarray:
  return np.clip(x + np.array([6, 0, -9]), 0, 255).astype(np.uint8)


_DISTORTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "none": np.copy,
  "one level": _one_level,
  "noise of 3": _noise(3),
  "noise of 40": _noise(40),
  "blur": _blurred,
  "fine blocks": _blocks(3),
  "coarse blocks": _blocks(16),
  "tint": _tinted,
  "negative": lambda x: 255 - x,
}


def _record(folder: str) -> None:
  """Asks the programs about all pairs: SSIMULACRA2, and Butteraugli's 3-norm and maximum."""
  butteraugli = perceptual.butteraugli(folder)
  assert isinstance(butteraugli, perceptual.PerceptualMetric)
  rows = []
  for name, *pair in pairs():
    values = [reference_ssimulacra2(*pair, folder), *butteraugli.measure(*pair)]
    rows.append(f'  "{name}": {values}')
  text = ",\n".join(rows)
  RECORDED.write_text(f'{{"programs": "{PROGRAMS}",\n "values": {{\n{text}\n}}}}\n')


if __name__ == "__main__":
  _record(*sys.argv[1:])
