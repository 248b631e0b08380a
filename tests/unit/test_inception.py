"""Inception's first layers, read from a folder as nsfwjs lays it out."""

import base64
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.images.metrics import inception

_KERNELS = {
  1: (3, 3, 3, 32), 2: (3, 3, 32, 32), 3: (3, 3, 32, 64), 4: (1, 1, 64, 80), 5: (3, 3, 80, 192),
  6: (1, 1, 192, 64), 7: (1, 1, 192, 48), 8: (5, 5, 48, 64), 9: (1, 1, 192, 64),
  10: (3, 3, 64, 96), 11: (3, 3, 96, 96), 12: (1, 1, 192, 32),
}  # fmt: skip


def _write(folder, kernels=_KERNELS, cut=0):
  """Writes random layers in two parts, and returns what they stand for, by name."""
  rng = np.random.default_rng(0)
  entries, data, arrays = [], b"", {}
  for number, shape in kernels.items():
    ranges = {
      f"conv2d_{number}/kernel": (shape, -0.1, 0.2),
      f"batch_normalization_{number}/beta": (shape[-1:], -1, 1),
      f"batch_normalization_{number}/moving_mean": (shape[-1:], -1, 1),
      f"batch_normalization_{number}/moving_variance": (shape[-1:], 0.5, 2),
    }
    for name, (sides, low, high) in ranges.items():
      levels, scale = rng.integers(0, 256, sides, np.uint8), (high - low) / 255
      data += levels.tobytes()
      arrays[name] = levels * scale + low
      entries.append(
        f'{{name:"{name}",shape:{json.dumps(list(sides), separators=(",", ":"))},dtype:"float32",'
        f'quantization:{{min:{low},scale:{scale!r},dtype:"uint8"}}}}'
      )
  (folder / "model.min.js").write_text(f"!function(){{weights:[{','.join(entries)}]}}")
  half = len(data) // 6 * 3  # as the package's, without padding between the parts
  for number, part in enumerate((data[:half], data[half : len(data) - cut]), 1):
    text = f'!function(a){{a("{base64.b64encode(part).decode()}")}}'
    (folder / f"group1-shard{number}of2.min.js").write_text(text)
  return arrays


def test_layers_hold_what_normalises_them(tmp_path):
  arrays = _write(tmp_path)
  network = inception.load(tmp_path)
  for number, (kernel, bias) in enumerate(network.convolutions, 1):
    x = np.full(kernel.shape[:3], 0.3)
    plain = np.einsum("ijc,ijcf->f", x, arrays[f"conv2d_{number}/kernel"])
    of = lambda name: arrays[f"batch_normalization_{number}/{name}"]  # noqa: B023
    expected = (plain - of("moving_mean")) / np.sqrt(of("moving_variance") + 1e-3) + of("beta")
    found = np.einsum("ijc,ijcf->f", x, kernel) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_features_have_three_resolutions_and_finite_gradients(tmp_path):
  _write(tmp_path)
  network = inception.load(tmp_path)
  x = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (2, 32, 64, 3)), jnp.float32)
  found = jax.eval_shape(inception.features, network, x)
  shapes = [(2, 16, 32, 32), (2, 16, 32, 64), (2, 8, 16, 192), (2, 4, 8, 256)]
  assert [values.shape for values in found] == shapes
  total = lambda x: sum(jnp.sum(values) for values in inception.features(network, x))
  for picture in (x, jnp.zeros_like(x)):
    assert np.isfinite(jax.jit(jax.grad(total))(picture)).all()


def test_a_reduced_folder_holds_the_same(tmp_path):
  _write(tmp_path, {**_KERNELS, 13: (1, 1, 256, 64)})
  inception.reduce(tmp_path, tmp_path / "small")
  both = inception.load(tmp_path), inception.load(tmp_path / "small")
  jax.tree.map(np.testing.assert_array_equal, *both)
  size = lambda folder: sum(path.stat().st_size for path in folder.glob("*.js"))
  assert size(tmp_path / "small") < size(tmp_path) - 16_000


def test_another_folder_is_an_error_that_says_where_to_get_it(tmp_path):
  with pytest.raises(UsageError, match="npm pack nsfwjs"):
    inception.load(tmp_path)
  _write(tmp_path, dict(list(_KERNELS.items())[:-1]))
  with pytest.raises(UsageError, match="conv2d_12/kernel is missing"):
    inception.load(tmp_path)
  _write(tmp_path, cut=3)
  with pytest.raises(UsageError, match="batch_normalization_12/moving_variance is cut off"):
    inception.load(tmp_path)
