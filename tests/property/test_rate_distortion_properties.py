"""BD-rates of any curve: zero against itself, exact for a constant factor, reciprocal."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cae_jax.evaluation.rd import curves
from cae_jax.evaluation.rd.bd_rates import bd_rate, bootstrap_interval
from cae_jax.evaluation.rd.curves import Convention, Curve, Points, quality_at, rising_points

_CONVENTION = Convention("psnr_db", ("a", "b"))
_STEPS = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.5, 6)), min_size=4, max_size=9)


@st.composite
def _points(draw):
  """Rising points from 25 dB on."""
  rates, values = [0.05], [25.0]
  for rate, value in draw(_STEPS):
    rates.append(rates[-1] + rate)
    values.append(values[-1] + value)
  return Points(tuple(rates), tuple(values))


def _curve(*points):
  return Curve("x", _CONVENTION, points[0], points[1:])


def _scaled(points, factor):
  return dataclasses.replace(points, rate_bpp=tuple(factor * rate for rate in points.rate_bpp))


@given(_points(), _points(), _points())
def test_a_curve_against_itself_is_zero(mean, a, b):
  result = bd_rate(_curve(mean, a, b), _curve(mean, a, b))
  assert (result.headline_percent, result.mean_curve_percent) == (0, 0)


@given(_points(), _points(), st.floats(0.1, 10), st.floats(0.1, 10))
def test_k_times_the_bits_are_k_minus_one(mean, image, k, other):
  test = _curve(_scaled(mean, k), _scaled(image, k), _scaled(image, other))
  result = bd_rate(test, _curve(mean, image, image))
  percent, second = 100 * (k - 1), 100 * (other - 1)
  assert result.mean_curve_percent == pytest.approx(percent, abs=1e-7)
  assert result.per_image_percent == pytest.approx((percent, second), abs=1e-7)
  assert result.headline_percent == pytest.approx((percent + second) / 2, abs=1e-7)


@given(_points(), _points())
def test_the_other_way_round_is_the_reciprocal(a, b):
  try:
    forth = bd_rate(_curve(a), _curve(b))
  except curves.NotComparable:
    with pytest.raises(curves.NotComparable, match="expected an overlap of 2 dB or more"):
      bd_rate(_curve(b), _curve(a))
    return
  back = bd_rate(_curve(b), _curve(a))
  product = (1 + forth.mean_curve_percent / 100) * (1 + back.mean_curve_percent / 100)
  assert product == pytest.approx(1)
  assert forth.overlap_range == back.overlap_range


@given(_points(), st.floats(0, 1))
def test_interpolation_stays_between_its_neighbours(points, share):
  index = min(int(share * (len(points) - 1)), len(points) - 2)
  low, high = points.rate_bpp[index : index + 2]
  value = quality_at(points, min(high, low + share * (high - low)))
  assert points.quality[index] - 1e-9 <= value <= points.quality[index + 1] + 1e-9


@given(st.lists(st.tuples(st.floats(0.01, 9), st.floats(10, 50)), min_size=1, max_size=20))
def test_rising_points_dominate_all_they_leave_out(pairs):
  points = rising_points(pairs)
  kept = list(zip(points.rate_bpp, points.quality))
  assert len(kept) + points.n_dominated == len(set(pairs))
  for rate, value in pairs:
    assert any(r <= rate and v >= value for r, v in kept)


@given(st.lists(st.floats(-90, 300), min_size=8, max_size=24))
def test_the_interval_lies_within_the_values(values):
  low, high = bootstrap_interval(values, n_resamples=200)
  assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
