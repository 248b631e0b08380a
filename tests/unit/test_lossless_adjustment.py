import numpy as np
import pytest

from cae_jax.codec.lossless import adjustment
from cae_jax.codec.lossless.tile import make_arrays, tables_from_arrays
from cae_jax.coding.symbols import information_bits
from cae_jax.models.lossless import distribution
from cae_jax.models.lossless.passes import Expected


@pytest.fixture(scope="module")
def tables():
  return tables_from_arrays(make_arrays())


def _expected(scale, shape, count):
  index = np.ravel_multi_index((0, scale, shape), distribution.TABLES)
  indexes = np.full(count, index, np.int32)
  return Expected(indexes, None, np.zeros(count, np.int32), np.zeros(count, np.int32))


@pytest.mark.parametrize(("sigma", "shape"), [(0.5, 2), (1.5, 2), (3.0, 2), (8.0, 2)])
def test_an_image_noisier_than_expected_gets_wider_tables(tables, sigma, shape):
  integers = np.rint(np.random.default_rng(0).normal(0, sigma, 9000)).astype(np.int32)
  true = 4 * (np.log2(sigma) - distribution.LOWEST)
  expected = _expected(round(true) - 2, shape, len(integers))
  found = adjustment.find(integers, expected, tables)
  adjusted = adjustment.adjusted(expected, found)
  before = information_bits(integers, expected.tables, tables)
  after = information_bits(integers, adjusted.tables, tables)
  assert after < before
  scale = adjusted.tables[0] // distribution.SHAPES % distribution.SCALES
  assert abs(scale - true) <= 2


def test_classes_are_adjusted_by_themselves(tables):
  rng = np.random.default_rng(1)
  narrow, wide = _expected(12, 2, 5000), _expected(28, 2, 5000)
  integers = np.concatenate([np.rint(rng.normal(0, 0.4, 5000)), np.rint(rng.normal(0, 16, 5000))])
  expected = Expected(
    *(None if a is None else np.concatenate([a, b]) for a, b in zip(narrow, wide))
  )
  found = adjustment.find(integers.astype(np.int32), expected, tables)
  scales = adjustment.adjusted(expected, found).tables // distribution.SHAPES % distribution.SCALES
  assert scales[0] <= 12
  assert scales[-1] > 28
  assert (found[[0, 2, 3, 4]] == 0).all()  # no samples, nothing to adjust


def test_no_adjustment_changes_nothing():
  expected = _expected(20, 3, 10)
  same = adjustment.adjusted(expected, np.zeros(adjustment.CLASSES, np.int32))
  np.testing.assert_array_equal(same.tables, expected.tables)
  assert adjustment.ADJUSTMENTS <= 1 << adjustment.BITS


def test_samples_far_outside_of_tables_are_counted_as_escapes(tables):
  expected = _expected(4, 0, 10)
  found = adjustment.find(np.full(10, 100, np.int32), expected, tables)
  assert found.max() < adjustment.ADJUSTMENTS


@pytest.mark.parametrize("start", [0, -3])
@pytest.mark.parametrize(("sigma", "bias"), [(0.5, 0.2), (1.0, -0.4), (4.0, 1.5)])
def test_samples_to_one_side_move_the_mean(tables, sigma, bias, start):
  steps = np.rint(np.random.default_rng(0).normal(bias + start, sigma, 9000)).astype(np.int32)
  expected = _expected(round(4 * (np.log2(sigma) - distribution.LOWEST)), 2, len(steps))
  expected = expected._replace(starts=expected.starts + start)
  moves = adjustment.find_moves(steps - expected.starts, expected, tables)
  moved = adjustment.moved(expected, moves)
  fraction = moved.tables[0] // distribution.SHAPES // distribution.SCALES
  assert moved.starts[0] + fraction / distribution.FRACTIONS - start == pytest.approx(bias, abs=0.2)
  before, after = (
    information_bits(steps - of.starts, of.tables, tables) for of in (expected, moved)
  )
  assert after < before - adjustment.CLASSES * adjustment.MOVE_BITS


def test_a_move_that_saves_little_is_not_made(tables):
  integers = np.rint(np.random.default_rng(0).normal(0, 1.5, 9000)).astype(np.int32)
  assert adjustment.find_moves(integers, _expected(18, 2, 9000), tables) is None


def test_moves_of_zero_and_of_whole_integers_keep_the_rest():
  expected = _expected(20, 3, 10)  # a scale of 2
  stay = np.full(adjustment.CLASSES, 8)
  for number, whole, fraction in ((0, 0, 0), (4, 1, 0), (-4, -1, 0), (-1, -1, 6)):
    moved = adjustment.moved(expected, stay + number)
    tables = np.ravel_multi_index((fraction, 20, 3), distribution.TABLES)
    assert (moved.tables == tables).all()
    assert (moved.starts == whole).all()
