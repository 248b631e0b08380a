import numpy as np
import pytest

from cae_jax.models.lossless import linear
from cae_jax.models.lossless.phases import MARGIN, PHASES
from cae_jax.training import lossless_blocks as blocks


class _Source(list):
  pass


def _photograph(seed, shape=(90, 120)):
  rng = np.random.default_rng(seed)
  y, x = np.indices(shape)
  image = 128 + 80 * np.sin(x / 9 + seed) * np.cos(y / 7) + rng.normal(0, 3, (3, *shape))
  return np.clip(np.rint(image), 0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def source():
  return _Source({"image": _photograph(i), "name": str(i)} for i in range(3))


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
  return blocks.prepare(source, tmp_path_factory.mktemp("blocks"), shrink=(1.0, 1.0))


def test_a_prepared_folder_is_used_again(source, tmp_path):
  blocks.prepare(source, tmp_path, shrink=(1.5, 2.0))
  before = (tmp_path / "values.u8").stat().st_mtime_ns
  again = blocks.prepare(source, tmp_path, shrink=(1.5, 2.0))
  assert (tmp_path / "values.u8").stat().st_mtime_ns == before
  assert len(again) == 3
  assert again.shapes.max() <= 120 / 1.5
  blocks.prepare(source, tmp_path, shrink=(1.0, 1.0))
  assert (tmp_path / "values.u8").stat().st_mtime_ns != before


def test_errors_are_of_the_linear_stage(store):
  x = store.values[0]
  errors, sizes = linear.error_map(x, linear.fit_image(x))
  np.testing.assert_array_equal(store.errors[0], errors)
  np.testing.assert_array_equal(store.log_sizes[0][:3], linear.log_sizes(sizes)[:3])


def test_blocks_are_parts_of_a_level(store):
  step, level, side = 4, 1, 4
  values, errors, log_sizes = blocks._cut(store, 1, level, [2, 3], [0, 0], side)
  x, e = store.values[1], store.errors[1]
  inner = slice(MARGIN, MARGIN + side)
  rows, columns = slice(2 * step, (2 + side) * step, step), slice(3 * step, (3 + side) * step, step)
  np.testing.assert_array_equal(values[0, :, inner, inner], x[:, rows, columns])
  odd = slice(2 * step + 2, (2 + side) * step + 2, step)
  np.testing.assert_array_equal(errors[3, :, inner, inner], e[:, odd, columns])
  np.testing.assert_array_equal(log_sizes, store.log_sizes[1, level])


def test_flipped_blocks_keep_their_phases(store):
  """A flipped block is a block of the flipped picture, so far from borders."""
  side = 6
  values, *_ = blocks._cut(store, 0, 0, [5, 8], [1, 1], side)
  flipped = {
    plane: {(i, j) for p, i, j in phase.neighbours for plane in [p]}
    for phase in PHASES
    for plane in range(phase.plane)
  }
  assert flipped
  x = store.values[0]
  # Pixel (0, 0) of the block is the last of the plain one.
  for plane, (r, c) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
    i, j = 5 + side - 1, 8 + side - 1
    expected = x[:, 2 * i - r, 2 * j - c]
    np.testing.assert_array_equal(values[plane, :, MARGIN, MARGIN], expected)


def test_batches_depend_on_their_number_alone(store):
  first = blocks.BlockIterator(store, 4, side=4, seed=3)
  _, second = next(first), next(first)
  resumed = blocks.BlockIterator(store, 4, side=4, seed=3)
  resumed.set_state({"number": 1})
  for name, array in next(resumed).items():
    np.testing.assert_array_equal(array, second[name])
  assert first.get_state() == {"number": 2}
  assert second["values"].shape == (4, 4, 3, 4 + 2 * MARGIN, 4 + 2 * MARGIN)


@pytest.mark.parametrize("seed", range(6))
def test_subsampled_chroma_keeps_luma_and_size(seed):
  image = _photograph(seed, (31, 45))
  found = blocks.subsample_chroma(image, np.random.default_rng(seed))
  assert found.shape == image.shape
  luma = lambda x: x @ np.array([0.299, 0.587, 0.114])
  assert np.abs(luma(found) - luma(image)).mean() < 1
  assert np.abs(found.astype(int) - image).mean() > 1
