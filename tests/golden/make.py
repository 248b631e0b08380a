"""Writes the golden files, which every future version has to decode.

  python -m tests.golden.make

Only for what is new: files that are there are left alone. Those of version 1 of the format can no
longer be made; names that end in 2, 3 or 4 are of that version. Add new lines to SHA256SUMS.
"""

import jax
import numpy as np
from PIL import Image, ImageDraw

from cae_jax.codec import Codec, calibrate_weights, from_weights, load
from cae_jax.codec.drawn import drawn_layer
from cae_jax.images.files import write_image
from cae_jax.models import build_model, init_params
from cae_jax.models.context import ContextModel, start_from_klt
from cae_jax.models.context.transforms import klt
from cae_jax.weights import save_weights
from tests.golden import FOLDER, GENERATIONS
from tests.lossless import tiny_weights
from tests.models import paper_codec, photo
from tests.trained import pictures, trained

CONTEXT = {
  "model": "context",
  "channels": [16, 16],
  "blocks": [1, 1],
  "groups": [4, 4],
  "group_steps": [7, 2],
  "pass_kernel_size": 5,
  "width": 16,
  "value_channels": 4,
  "fine_groups": [2, 4],
  "fine_group_steps": [2, 1],
  "fine_pass_kernel_size": 3,
  "fine_width": 8,
  "fine_value_channels": 2,
  "fine_features": 4,
  "hyper_channels": 4,
  "hyper_features": 8,
  "lmbda_min": 0.0009,
  "lmbda_max": 0.09,
}


def main() -> None:
  """Writes what is missing."""
  codecs = {
    "context": _context,
    "hyperprior": lambda: _trained("hyperprior"),
    "factorized": lambda: _trained("factorized"),
    "paper": paper_codec,
  }
  for name, make in codecs.items():
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
      save_weights(path, make().weights)
    _write(load(path), f"{name}-rgb", photo(70, 100))
  context = load(FOLDER / "context.safetensors")
  alpha = np.linspace(0, 255, 40 * 60).astype(np.uint8).reshape(40, 60, 1)
  rgba = np.concatenate([photo(40, 60), alpha], axis=2)
  _write(context, "context-pixel", photo(1, 1), quality=100)
  _write(context, "context-grey", photo(33, 17)[..., 1], quality=0)
  _write(context, "context-rgba", rgba, quality=90, metadata={"icc": b"profile", "exif": b"Exif"})
  _write(context, "context-tiles", photo(48, 1100), quality=30)
  _write(context, "context-rgba2", rgba, quality=90, metadata={"icc": b"profile", "exif": b"Exif"})
  _write(context, "context-tiles2", photo(48, 1100), quality=30)
  _write(context, "context-finer3", photo(70, 100), quality=140)
  page = _page(photo(70, 100), "Text 4")
  _write(context, "context-layer4", page, quality=60, layer=drawn_layer(page, 0))
  rgba4 = np.dstack([page, np.tile(np.arange(100, 200).astype(np.uint8), (70, 1))])
  _write(context, "context-rgba4", rgba4, quality=60, layer=drawn_layer(rgba4, 0))
  grey = _page(photo(96, 160), "Some letters")[..., 1]
  _write(load("eye3"), "eye3-layer4", grey, quality=50, layer=drawn_layer(grey[..., None], 16))
  _write(load("context2"), "context2-finer3", photo(96, 160), quality=175)
  _write(load("eye3"), "eye3-finer3", photo(96, 160), quality=112)
  for name in ("hyperprior", "paper"):
    _write(load(FOLDER / f"{name}.safetensors"), f"{name}-rgb2", photo(70, 100))
  _write_lossless()
  for name in GENERATIONS:
    _write(load(name), f"{name}-released", _biased() if name == "lossless2" else photo(96, 160))


def _write_lossless() -> None:
  path = FOLDER / "lossless.safetensors"
  if not path.exists():
    save_weights(path, tiny_weights())
  codec, rng = load(path), np.random.default_rng(0)
  rgb = photo(60, 90)
  rgba = np.dstack([photo(40, 50), np.zeros((40, 50), np.uint8)])
  rgba[8:, :30, 3] = np.linspace(1, 255, 30).astype(np.uint8)
  fine = photo(50, 70).astype(np.uint16) << 4
  deep = fine + rng.integers(0, 16, fine.shape, np.uint16)
  drawing = np.full((50, 60, 3), 240, np.uint8)
  drawing[5:30, 10:40], drawing[20:45, 25:55] = (200, 30, 40), (20, 60, 180)
  shades = np.full((60, 90, 3), 250, np.uint8)
  shades[20:, 30:] = 40, 90, 246
  shades[10:50, 20:30] = np.arange(0, 240, 6, dtype=np.uint8)[:, None, None]
  gaps = np.cumsum(rng.integers(1, 5, 100)).clip(0, 255).astype(np.uint8)
  metadata = {"icc": b"profile", "exif": b"Exif"}
  _write(codec, "lossless-rgba2", rgba, keep_hidden_colour=True)
  _write(codec, "lossless-tiles2", photo(20, 1100))
  _write(codec, "lossless-pixel", rgb[:1, :1])
  _write(codec, "lossless-rgb", rgb, metadata=metadata)
  _write(codec, "lossless-grey16", deep[..., 1])
  _write(codec, "lossless-rgb16", deep)
  _write(codec, "lossless-rgba", rgba, keep_hidden_colour=True)
  _write(codec, "lossless-near", rgb, near_lossless=2)
  _write(codec, "lossless-near16", deep, near_lossless=9)
  _write(codec, "lossless-drawing", drawing)
  _write(codec, "lossless-fewer2", shades, near_lossless=20)
  _write(codec, "lossless-noise", rng.integers(0, 256, (20, 30, 3), np.uint8))
  _write(codec, "lossless-counted", gaps[photo(60, 90)[..., 1] * np.uint16(99) // 255])
  _write(codec, "lossless-tiles", photo(20, 1100))
  _write(codec, "lossless-whole", np.tile(rng.integers(0, 256, (1, 30, 3), np.uint8), (9, 60, 1)))


def _page(image: np.ndarray, text: str) -> np.ndarray:
  """A photograph with lines of text over its left half."""
  page = Image.fromarray(image)
  draw = ImageDraw.Draw(page)
  draw.rectangle((0, 0, image.shape[1] // 2, image.shape[0]), "white")
  for top in range(2, image.shape[0], 12):
    draw.text((2, top), text, "black")
  return np.asarray(page)


def _biased() -> np.ndarray:
  """A picture large enough for adjustments, of which two channels were cut off, not rounded."""
  rng = np.random.default_rng(0)
  green = np.clip(photo(140, 150)[..., 1] + rng.normal(0, 3, (140, 150)), 0, 255).astype(np.uint8)
  coarse = photo(70, 75).repeat(2, 0).repeat(2, 1).astype(float)
  others = np.floor(green[..., None] + 0.3 * (coarse - coarse[..., 1:2]))[..., ::2]
  return np.clip(np.insert(others, 1, green, axis=2), 0, 255).astype(np.uint8)


def _write(codec, name: str, image: np.ndarray, **settings) -> None:
  path = FOLDER / f"{name}.cae"
  if path.exists():
    return
  data = codec.encode(image, **settings).data
  path.write_bytes(data)
  write_image(FOLDER / f"{name}.png", codec.decompress(data))
  print(path)


def _context() -> Codec:
  """A block transform with small random networks around it."""
  model = build_model(CONTEXT)
  assert isinstance(model, ContextModel)
  images = [photo(128, 128, i) for i in range(8)]
  blocks = [i.reshape(8, 16, 8, 16, 3).swapaxes(1, 2).reshape(-1, 16, 16, 3) for i in images]
  params = start_from_klt(model, init_params(model, 0), *klt(np.concatenate(blocks), 8, 6))
  params = jax.device_get(params)
  rng = np.random.default_rng(0)
  # What starts at zero: the last layers of the context passes and of the transforms' networks.
  for number in range(sum(len(level.passes) for level in model.levels)):
    _shake(params[f"context_{number}"], "kernel_2", 0.1, rng)
  for side in ("analysis", "synthesis"):
    _shake(params[side]["ConditionalConv_2"]["Conv_0"], "kernel", 0.02, rng)
  _shake(params["analysis"]["ConditionalConv_3"]["Conv_0"], "kernel", 0.02, rng)
  return from_weights(calibrate_weights("tiny", CONTEXT, params, images[:2]))


def _shake(params, name: str, size: float, rng: np.random.Generator) -> None:
  params[name] = np.asarray(rng.normal(0, size, params[name].shape), np.float32)


def _trained(name: str) -> Codec:
  done = trained(name)
  weights = calibrate_weights(f"tiny-{name}", done.config, done.params, pictures(3))
  return from_weights(weights)


if __name__ == "__main__":
  main()
