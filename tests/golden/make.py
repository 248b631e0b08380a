"""Writes the golden files, which every future version has to decode.

  python -m tests.golden.make

Only for what is new: files that are there are left alone.
"""

import jax
import numpy as np

from cae_jax.codec import Codec, calibrate_weights, from_weights, load
from cae_jax.images.files import write_image
from cae_jax.models import build_model, init_params
from cae_jax.models.context import ContextModel, start_from_klt
from cae_jax.models.context.transforms import klt
from cae_jax.weights import save_weights
from tests.golden import FOLDER
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


def _write(codec: Codec, name: str, image: np.ndarray, **settings) -> None:
  path = FOLDER / f"{name}.cae"
  if path.exists():
    return
  data = codec.compress(image, **settings)
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
