"""SSIMULACRA2: the program's values, NumPy = JAX, gradients, what it does not take."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.images import metrics
from tests import picture_pairs


@functools.cache
def _recorded() -> dict[str, list[float]]:
  return json.loads(picture_pairs.RECORDED.read_text(encoding="utf-8"))["values"]


@functools.cache
def _pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  return {name: (x, x_hat) for name, x, x_hat in picture_pairs.pairs()}


def _patch(noise=0.0, shape=(2, 48, 40, 3)):
  rng = np.random.default_rng(5)
  x = rng.uniform(0, 255, shape).astype(np.float32)
  return x, (x + rng.normal(0, noise, shape)).astype(np.float32)


def test_all_pairs_are_recorded():
  assert list(_pairs()) == list(_recorded())


# A name that no program measured would not be found.
@pytest.mark.parametrize("name", list(json.loads(picture_pairs.RECORDED.read_text())["values"]))
def test_score_is_that_of_the_program(name):
  score, *_ = _recorded()[name]
  # The program's own rounding, which its recursive filter adds up, takes more of the best scores.
  tolerance = 0.05 if score < 80 else 1.1
  assert float(metrics.ssimulacra2(*_pairs()[name])) == pytest.approx(
    score, rel=2e-4, abs=tolerance
  )


def test_jax_says_what_numpy_says():
  score = jax.jit(metrics.ssimulacra2)
  for name in ("astronaut, one level", "coffee, coarse blocks"):
    pair = _pairs()[name]
    on_jax = score(*map(jnp.asarray, pair))
    assert isinstance(on_jax, jax.Array)
    assert float(on_jax) == pytest.approx(float(metrics.ssimulacra2(*pair)), abs=2e-3)


def test_batches_are_scored_one_by_one():
  x, x_hat = _patch(9.0)
  scores = metrics.ssimulacra2(x, x_hat)
  assert scores.shape == (2,)
  singles = [metrics.ssimulacra2(a, b) for a, b in zip(x, x_hat, strict=True)]
  np.testing.assert_allclose(scores, singles, rtol=1e-5)


def test_scale_of_the_samples_is_a_matter_of_max_value():
  x, x_hat = _patch(9.0)
  np.testing.assert_allclose(
    metrics.ssimulacra2(x / 255, x_hat / 255, 1.0), metrics.ssimulacra2(x, x_hat), rtol=1e-4
  )


def test_samples_outside_of_the_range_are_clipped():
  x, x_hat = _patch(90.0)
  np.testing.assert_array_equal(
    metrics.ssimulacra2(x, x_hat), metrics.ssimulacra2(x, np.clip(x_hat, 0, 255))
  )


@pytest.mark.parametrize("noise", [0.0, 1e-3, 5.0, 300.0])
def test_gradients_are_finite(noise):
  """Also of equal pictures, black ones among them, and of samples outside of the range."""
  x, x_hat = _patch(noise)
  x[0, :20], x_hat[0, :20] = 0, 0
  gradient = jax.jit(jax.grad(lambda pair: metrics.ssimulacra2(*pair).sum()))((x, x_hat))
  for part in gradient:
    assert np.isfinite(part).all()
  assert (np.abs(gradient[1]).max() > 0) == (noise > 0)


def test_gradient_points_to_a_better_picture():
  x, x_hat = map(jnp.asarray, _patch(12.0))
  value, slope = jax.jit(jax.value_and_grad(lambda y: metrics.ssimulacra2(x, y).sum()))(x_hat)
  step = x_hat + 0.2 * slope / jnp.abs(slope).mean()
  assert float(metrics.ssimulacra2(x, step).sum()) > float(value)


@pytest.mark.parametrize("shape", [(7, 40, 3), (2, 40, 7, 3)])
def test_small_pictures_are_refused(shape):
  with pytest.raises(ValueError, match=r"sides >= 8, got shape .*; leave it out for smaller"):
    metrics.ssimulacra2(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 1), (40, 40, 4)])
def test_only_rgb_is_taken(shape):
  with pytest.raises(ValueError, match=r"needs RGB images \[\.\.\., H, W, 3\], got shape"):
    metrics.ssimulacra2(np.zeros(shape), np.zeros(shape))


def test_shapes_must_agree():
  with pytest.raises(ValueError, match=r"shape \(40, 40, 3\), got \(40, 41, 3\)"):
    metrics.ssimulacra2(np.zeros((40, 40, 3)), np.zeros((40, 41, 3)))
