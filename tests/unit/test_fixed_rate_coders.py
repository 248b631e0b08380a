import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.codec import calibrate_weights, from_weights
from cae_jax.codec.coders import factorized, hyperprior
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.symbols import information_bits
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import MODELS, build_model, init_params
from cae_jax.models.base import CodedOutput, OneRateModel
from cae_jax.models.entropy import FactorizedPrior, bits_per_image, scale_levels
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.models.hyperprior.exact import quantize_hyper_synthesis
from cae_jax.models.hyperprior.model import Analysis, Synthesis
from cae_jax.weights import load_weights
from tests.golden import FOLDER
from tests.trained import pictures

CODERS = {"hyperprior": hyperprior.Coder, "factorized": factorized.Coder}
NAMES = sorted(CODERS)
IMAGE = pictures(1, 128, seed=5)[0]


@functools.cache
def coder(name):
  """Of a model as in `tests.trained`; see tests/golden/make.py."""
  return CODERS[name](load_weights(FOLDER / f"{name}.safetensors"))


def _rounded(name, images):
  """The model's own rounded pass."""
  ours, x = coder(name), images / np.float32(255)
  run = lambda p: ours.model.apply({"params": p}, x, np.zeros(len(x)), method="rounded")
  return jax.jit(run)(ours._params)


class Strided(OneRateModel):
  """A pair of transforms that the package has no model of, with a factorized prior."""

  latent_channels: int = 6
  stride, margin = 16, 2

  def setup(self):
    self.analysis, self.synthesis = Analysis(4, self.latent_channels), Synthesis(4)
    self.prior = FactorizedPrior(self.latent_channels)

  def analyse(self, x):
    return self.analysis(x)

  def synthesise(self, y_hat, tradeoff):
    return self.synthesis(y_hat)

  def rounded(self, x, tradeoff):
    y_hat = jnp.round(self.analyse(x))
    bits = bits_per_image(self.prior(y_hat))
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, bits, jnp.zeros_like(bits))


def test_new_transforms_with_a_factorized_prior_need_no_coder_of_their_own(monkeypatch):
  monkeypatch.setitem(MODELS, "strided", f"{__name__}:Strided")
  monkeypatch.setitem(sys.modules, "cae_jax.codec.coders.strided", factorized)
  config = {"model": "strided", "latent_channels": 5}
  params = init_params(build_model(config), 0)
  codec = from_weights(calibrate_weights("tiny", config, params, []))
  data = codec.compress(IMAGE[:70, :90])
  assert codec.decompress(data).shape == (70, 90, 3)
  output = build_model(config).apply({"params": params}, IMAGE[None] / np.float32(255), np.zeros(1))
  expected = np.clip(np.rint(255 * output.x_hat[0]), 0, 255)
  assert np.abs(codec.decompress(codec.compress(IMAGE)) - expected).max() <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(70, 90), (1, 1), (128, 128)])
def test_decoding_gives_what_was_coded(name, shape):
  ours, image = coder(name), IMAGE[: shape[0], : shape[1]]
  y = ours.analyse(image)
  assert y.shape[:2] == tuple(-(-side // ours.stride) for side in shape)
  coded = ours.encode(y, 0)
  symbols, y_hat = ours.decode(coded.section, y.shape[:2], 0)
  for ours_now, theirs in zip(symbols, coded.symbols, strict=True):
    np.testing.assert_array_equal(ours_now, theirs)
  np.testing.assert_array_equal(y_hat, coded.y_hat)
  assert np.abs(y_hat - y).max() < 0.5 + 1 / 16
  x_hat = ours.synthesise(y_hat, 0)
  assert x_hat.dtype == np.uint8
  assert x_hat.shape == (*(ours.stride * side for side in y.shape[:2]), 3)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_those_of_the_model(name):
  """What a file holds is what validation measured, but for means in sixteenths."""
  ours, expected = coder(name), _rounded(name, pictures(2)[:1])
  coded = ours.encode(ours.analyse(pictures(2)[0]), 0)
  decoded = ours.synthesise(coded.y_hat, 0)
  error = decoded - np.clip(255 * expected.x_hat[0], 0, 255)
  assert np.sqrt(np.mean(np.square(error))) < 1.5
  bits = float(expected.y_bits[0] + expected.z_bits[0])
  assert 8 * len(coded.section) == pytest.approx(bits, rel=0.03, abs=100)


@pytest.mark.parametrize("name", NAMES)
def test_size_is_near_the_information_content(name):
  ours = coder(name)
  coded = ours.encode(ours.analyse(IMAGE), 0)
  ideal = sum(map(information_bits, coded.symbols, *_indexes_and_tables(ours, coded))) / 8
  assert ideal > 100
  assert ideal - 1 < len(coded.section) < 1.005 * ideal + 16


def _indexes_and_tables(ours, coded):
  if isinstance(ours, factorized.Coder):
    return [channel_indexes(coded.symbols[0].shape)], [ours._prior]
  z_hat, y = coded.symbols
  _, indexes = ours._means_and_indexes(z_hat, y.shape[:2])
  return [channel_indexes(z_hat.shape), indexes], [ours._prior, ours._gaussians]


@pytest.mark.parametrize("name", NAMES)
def test_windows_agree_with_the_whole_beyond_the_margin(name):
  ours = coder(name)
  margin, s = ours.margin, ours.stride
  y, shifted = ours.analyse(IMAGE), ours.analyse(IMAGE[64:, 64:])
  start = 64 // s
  np.testing.assert_allclose(
    y[start + margin :, start + margin :], shifted[margin:, margin:], atol=1e-4
  )
  y_hat = np.rint(y)
  whole = ours.synthesise(y_hat, 0)[64 + margin * s :, 64 + margin * s :].astype(int)
  part = ours.synthesise(y_hat[start:, start:], 0)[margin * s :, margin * s :]
  assert np.abs(whole - part).max() <= 1  # of rounding


def test_integers_follow_the_float_hyper_synthesis():
  ours = coder("hyperprior")
  z_hat = np.random.default_rng(0).integers(-6, 7, (2, 2, 8)).astype(np.int32)
  means, indexes = ours._means_and_indexes(z_hat, (8, 8))
  conditional = lambda z: ours.model.apply({"params": ours._params}, z, method="conditional")
  expected, log_scales = jax.jit(conditional)(z_hat[None].astype(np.float32))
  np.testing.assert_allclose(means / 16, expected[0], atol=1 / 16)
  clipped = np.clip(log_scales[0], *np.log(scale_levels()[[0, -1]]))
  step = np.log(scale_levels()[1] / scale_levels()[0])
  np.testing.assert_allclose(np.log(scale_levels())[indexes], clipped, atol=0.6 * step)


def test_a_network_that_saw_only_zeros_can_be_quantised():
  """Calibration on a grey picture: the weights still fit their integers."""
  ours = coder("hyperprior")
  nothing = {"hyper_synthesis": [0.0, 0.0, 0.0]}
  for layer in quantize_hyper_synthesis(ours.model, ours._params, nothing)["hyper_synthesis"]:
    sums = np.abs(layer.weights).sum(axis=(0, 1, 2))
    assert sums.max() <= 2**15
    assert sums.max() > 0


def test_another_slope_cannot_be_coded():
  model = HyperpriorModel(slope=0.01)
  with pytest.raises(ValueError, match=r"slope 0.01: files need leaky ReLUs of slope 2\^-3"):
    quantize_hyper_synthesis(model, {}, {})


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_an_error_or_seen_in_the_symbols(name):
  ours = coder(name)
  y = ours.analyse(IMAGE)
  coded = ours.encode(y, 0)
  for section in (coded.section[:-3], coded.section + b"\1", b"\xff" + coded.section):
    try:
      symbols, _ = ours.decode(section, y.shape[:2], 0)
    except BitstreamError:
      continue
    assert any((a != b).any() for a, b in zip(symbols, coded.symbols, strict=True))


def test_sides_that_are_no_multiples_are_padded_by_repetition():
  ours = coder("hyperprior")
  y = ours.analyse(IMAGE[:70, :90])
  padded = ours.analyse(pad_to_multiple(IMAGE[:70, :90], 64))
  np.testing.assert_array_equal(y, padded[:5, :6])
