"""Steps finer than a model's: carried over in integers, to the nearest, the same everywhere."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cae_jax.codec.coders.context import finer
from cae_jax.codec.info import FINEST_LEVEL, RATE_LEVELS
from cae_jax.models.exact.conditional import INDEX_BITS, LOG_SCALE_UNIT
from cae_jax.models.units import scale_levels

ONE = 1 << finer.FINENESS_BITS
FINENESSES = st.integers(ONE, finer.fineness(FINEST_LEVEL))
# Sixteenths: far more than networks say or tables hold.
VALUES = st.lists(st.integers(-(2**26), 2**26), min_size=1, max_size=9)


def test_rate_levels_and_how_fine_they_are():
  levels = 0, RATE_LEVELS, RATE_LEVELS + 1, RATE_LEVELS + 1024, FINEST_LEVEL
  assert [finer.fineness(level) for level in levels] == [1024, 1024, 1025, 2048, 4096]


def _is_nearest(value: int, exact: Fraction) -> bool:
  return -Fraction(1, 2) <= exact - value <= Fraction(1, 2)


@given(VALUES, FINENESSES)
def test_values_become_the_nearest_ones(values, fineness):
  values = np.array(values, np.int32)
  fine, coarse = finer.in_files_steps(values, fineness), finer.in_models_steps(values, fineness)
  assert fine.dtype == coarse.dtype == np.int32
  for value, f, c in zip(values.tolist(), fine.tolist(), coarse.tolist(), strict=True):
    assert _is_nearest(f, Fraction(value * fineness, ONE))
    assert _is_nearest(c, Fraction(value * ONE, fineness))


@given(VALUES, FINENESSES)
def test_the_way_there_and_back_changes_nothing(values, fineness):
  values = np.array(values, np.int32)
  back = finer.in_models_steps(finer.in_files_steps(values, fineness), fineness)
  np.testing.assert_array_equal(back, values)


def test_the_models_own_steps_are_left_alone():
  values = np.arange(-40, 41, dtype=np.int32)
  assert finer.in_files_steps(values, ONE) is values
  assert finer.in_models_steps(values, ONE) is values
  assert finer.wider(ONE) == 0
  assert finer.wider_table(7, ONE) == 7


@pytest.mark.parametrize("fineness", [1500, 2048, 4096])
def test_tables_are_those_of_wider_scales(fineness):
  scales = scale_levels()
  found = scales[[finer.wider_table(table, fineness) for table in range(40)]]
  np.testing.assert_allclose(found / scales[:40], fineness / ONE, rtol=0.07)


def test_no_logarithm_is_near_a_half():
  """So libraries that round it otherwise in its last places give the same integers."""
  for fineness in range(ONE, finer.fineness(FINEST_LEVEL) + 1):
    exact = math.log(fineness / ONE) / LOG_SCALE_UNIT
    assert abs(exact % 1 - 0.5) > 1e-4 or fineness == ONE
    assert finer.wider(fineness) == round(exact)
  assert finer.wider(2 * ONE) == round(math.log(2) / (math.log(256 / 0.11) / 63) * 2**INDEX_BITS)
