import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models.lossless import distribution, likelihood


@pytest.mark.parametrize("shape", [0.0, 0.7, 1.0, 2.5, 3.0])
@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 4.0])
def test_probabilities_sum_to_one(shape, log_scale):
  x = np.arange(-3000, 3001, dtype=np.float32) - 0.3
  bits = likelihood.bits(x, np.full_like(x, log_scale), np.full_like(x, shape))
  assert np.exp2(-np.asarray(bits, np.float64)).sum() == pytest.approx(1, abs=0.01)


def test_every_table_is_symmetric_and_whole():
  pmfs = distribution.pmfs()
  assert len(pmfs) == distribution.FRACTIONS * distribution.SCALES * distribution.SHAPES
  per_fraction = len(pmfs) // distribution.FRACTIONS
  for pmf, first in pmfs[:per_fraction:5]:
    np.testing.assert_allclose(pmf, pmf[::-1], rtol=1e-6)
    assert first == -(len(pmf) // 2)
  assert all(pmf.sum() > 0.98 for pmf, _ in pmfs[::11] if len(pmf) < 400)


def test_tables_are_those_of_the_bits():
  mean, log_scale, shape = np.float32([8 * 100 + 3]), np.float32([0.6]), np.float32([1.3])
  index, _, middle, steps = distribution.table_indexes(mean, log_scale, shape)
  start = middle + steps
  pmf, first = distribution.pmfs()[index[0]]
  assert start[0] == 100
  rounded = likelihood.rounded(jnp.asarray(mean), jnp.asarray(log_scale), jnp.asarray(shape))
  for sample in (97, 100, 101):
    bits = likelihood.bits(sample - rounded[0] / 8, rounded[1], rounded[2])
    assert -np.log2(pmf[sample - start[0] - first]) == pytest.approx(float(bits[0]), abs=2e-3)


def test_far_out_there_is_a_floor_and_a_gradient():
  bits = lambda s: likelihood.bits(jnp.float32(200), s, jnp.float32(2))
  assert float(bits(jnp.float32(-4))) == pytest.approx(20, abs=0.01)
  assert float(jax.grad(bits)(jnp.float32(4.0))) < 0
  assert np.isfinite(jax.grad(bits)(jnp.float32(-4)))


@pytest.mark.parametrize("mean", [250.3, 254.8, 261.0])
def test_the_last_value_has_all_that_lies_beyond(mean):
  x = np.arange(256, dtype=np.float32)
  edge = np.where(x == 255, 1, np.where(x == 0, -1, 0))
  bits = likelihood.bits(x - mean, np.full_like(x, 1.0), np.full_like(x, 1.5), edge)
  mass = np.exp2(-np.asarray(bits, np.float64))
  assert mass.sum() == pytest.approx(1, abs=1e-3)
  below = likelihood.bits(255 - x - (255 - mean), np.full_like(x, 1.0), np.full_like(x, 1.5), -edge)
  np.testing.assert_allclose(below, bits, rtol=1e-4)


def test_steps_are_rounded_to_the_scales_of_tables():
  steps = np.arange(1, 65536, 2)
  expected = np.rint(distribution.PER_OCTAVE * np.log2(steps)).astype(int)
  assert [distribution._log_step(step) for step in steps.tolist()] == expected.tolist()
