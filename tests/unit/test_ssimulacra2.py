"""SSIMULACRA2: the program's values, NumPy = JAX, gradients, what it does not take."""

import functools
import json
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.images import metrics
from cae_jax.images.metrics import ssimulacra
from tests import picture_pairs


@functools.cache
def _recorded() -> dict[str, list[float]]:
  return json.loads(picture_pairs.RECORDED.read_text(encoding="utf-8"))["values"]


@functools.cache
def _pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  return {name: (x, x_hat) for name, x, x_hat in picture_pairs.pairs()}


def _patch(noise=0.0, shape=(2, 9, 8, 3)):
  rng = np.random.default_rng(5)
  x = rng.uniform(0, 255, shape).astype(np.float32)
  return x, (x + rng.normal(0, noise, shape)).astype(np.float32)


def test_all_pairs_are_recorded():
  assert list(_pairs()) == list(_recorded())


@functools.cache
def _scores() -> dict[str, float]:
  """Of all pairs; optimised as for users, since products that are not fused round otherwise."""
  score = jax.jit(metrics.ssimulacra2, compiler_options={"xla_backend_optimization_level": 1})
  return {name: float(score(*pair)) for name, pair in _pairs().items()}


def _tolerance(name: str, score: float) -> float:
  """Of photographs 0.05 in the range of codecs; rounding decides where hardly anything differs."""
  return 0.05 if -100 < score < 90 and "waves" not in name else 0.2


def test_scores_are_those_of_the_program():
  faults = {
    name: (score, _scores()[name])
    for name, (score, *_) in _recorded().items()
    if abs(score - _scores()[name]) > _tolerance(name, score)
  }
  assert faults == {}


def test_equal_pictures_score_100():
  assert {score for name, score in _scores().items() if "none" in name} == {100.0}


def test_without_the_programs_rounding_errors_good_pictures_score_better():
  for name in ("astronaut, fine blocks", "astronaut, tint", "coffee, coarse blocks"):
    exact = float(metrics.ssimulacra2(*_pairs()[name], recursive=False))
    assert -0.02 < exact - _scores()[name] < 0.25


@pytest.mark.parametrize("recursive", [True, False])
def test_jax_says_what_numpy_says(recursive):
  pair = _pairs()["tiny, tint"]
  score = jax.jit(functools.partial(metrics.ssimulacra2, recursive=recursive))
  on_jax = score(*map(jnp.asarray, pair))
  assert isinstance(on_jax, jax.Array)
  on_numpy = metrics.ssimulacra2(*pair, recursive=recursive)
  assert isinstance(on_numpy, np.ndarray | np.floating)
  assert float(on_jax) == pytest.approx(float(on_numpy), abs=2e-3)


_exact = functools.partial(metrics.ssimulacra2, recursive=False)


def test_batches_are_scored_one_by_one():
  x, x_hat = _patch(9.0)
  scores = _exact(x, x_hat)
  assert scores.shape == (2,)
  singles = [_exact(a, b) for a, b in zip(x, x_hat, strict=True)]
  np.testing.assert_allclose(scores, singles, rtol=1e-5)
  np.testing.assert_allclose(metrics.ssimulacra2(x, x_hat), scores, atol=0.1)


def test_scale_of_the_samples_is_a_matter_of_max_value():
  x, x_hat = _patch(9.0)
  np.testing.assert_allclose(_exact(x / 255, x_hat / 255, 1.0), _exact(x, x_hat), rtol=1e-4)


def test_samples_outside_of_the_range_are_clipped():
  x, x_hat = _patch(90.0)
  np.testing.assert_array_equal(_exact(x, x_hat), _exact(x, np.clip(x_hat, 0, 255)))


@pytest.mark.parametrize("height", [64, 65, 131, 200])
def test_bands_of_rows_give_the_score_of_the_whole_picture(height, monkeypatch):
  x, x_hat = (part.astype(np.uint8) for part in _patch(9.0, (height, 90, 3)))
  with ThreadPoolExecutor(2) as pool:
    in_bands = _exact(x, x_hat, apply=pool.map)
  monkeypatch.setattr(ssimulacra, "_BAND_ROWS", None)
  assert in_bands == _exact(x, x_hat)


def test_memory_does_not_grow_by_all_that_is_computed():
  x = np.zeros((1024, 1024, 3), np.uint8)
  tracemalloc.start()
  _exact(x, x)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 60 * x.shape[0] * x.shape[1]


def test_exact_scores_of_numpy_arrays_need_no_jax():
  code = "import sys, numpy as np; from cae_jax.images import metrics; "
  code += "metrics.ssimulacra2(np.zeros((8, 8, 3)), np.ones((8, 8, 3)), recursive=False); "
  subprocess.run([sys.executable, "-c", code + "assert 'jax' not in sys.modules"], check=True)


@pytest.mark.parametrize("recursive", [True, False])
def test_gradients_are_finite(recursive):
  """Also of equal pictures, black ones among them, and of samples outside of the range."""

  def total(pair):
    return metrics.ssimulacra2(*pair, recursive=recursive).sum()

  gradient_of = jax.jit(jax.grad(total))
  for noise in (0.0, 1e-3, 5.0, 300.0):
    x, x_hat = _patch(noise)
    x[0, :4], x_hat[0, :4] = 0, 0
    gradient = gradient_of((x, x_hat))
    assert all(np.isfinite(part).all() for part in gradient)
    assert (np.abs(gradient[1]).max() > 0) == (noise > 0)


def test_gradient_points_to_a_better_picture():
  x, x_hat = map(jnp.asarray, _patch(12.0))
  scored = jax.jit(jax.value_and_grad(lambda y: _exact(x, y).sum()))
  value, slope = scored(x_hat)
  better, _ = scored(x_hat + 0.2 * slope / jnp.abs(slope).mean())
  assert float(better) > float(value)


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
