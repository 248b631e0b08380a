import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax import codec
from cae_jax.codec import Codec, windows
from cae_jax.codec.coders import paper
from cae_jax.coding.bitstream import Kind, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.symbols import information_bits
from cae_jax.coding.tables import CodingTables
from cae_jax.evaluation import run_report
from cae_jax.evaluation.codecs import own_codec
from cae_jax.models import build_model, init_params
from cae_jax.weights import Weights, WeightsError, save_weights
from tests.models import PAPER, context_codec, paper_codec, photo


def _image(height=21, width=34, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(21, 34), (1, 1), (16, 16)])
def test_file_decodes_to_the_rounded_latents(shape):
  ours = paper_codec()
  image = _image(*shape)
  decoded = ours.decompress(ours.compress(image))
  assert decoded.shape == image.shape
  assert decoded.dtype == np.uint8
  # 8 bits a latent change the untrained network's picture by little
  rough = own_codec.uncoded(ours)
  unrounded = rough.decode(rough.encode(image, None))
  assert np.abs(decoded.astype(int) - unrounded).mean() < 3


def test_trained_rounding_is_the_coders():
  """With latent_bits the network decodes in training exactly what a file holds."""
  ours = paper_codec(bottleneck=3, latent_bits=4, coding_bits=4)
  image = _image(16, 16)
  x = image[None] / np.float32(255)
  x_hat = jax.jit(ours.coder.model.apply)({"params": ours.weights.params}, x).x_hat[0]
  expected = 255 * np.asarray(x_hat)
  decoded = ours.decompress(ours.compress(image))
  np.testing.assert_allclose(decoded, np.clip(expected, 0, 255), atol=0.51)


def test_dct_preprocessing_pads_to_its_blocks():
  ours = paper_codec(preprocessing="ycbcr_dct")
  assert ours.coder.multiple == 8
  assert ours.decompress(ours.compress(_image())).shape == (21, 34, 3)


def test_size_is_near_the_information_content():
  ours = paper_codec()
  image = _image(64, 96)
  data = ours.compress(image)
  tables = CodingTables.from_arrays(ours.weights.tables["code"])
  [symbols] = ours.coder.encode(ours.coder.analyse(image), 0).symbols
  indexes = np.broadcast_to(np.arange(symbols.shape[-1]), symbols.shape)
  ideal = information_bits(symbols, indexes, tables) / 8
  assert ideal <= len(data) < 1.05 * ideal + 40


def test_constant_latents_can_be_coded():
  """Channels that never vary in training still code other pictures."""
  model = build_model(PAPER)
  params = jax.tree.map(jnp.zeros_like, init_params(model, 0))
  ours = codec.from_weights(codec.calibrate_weights("flat", PAPER, params, [_image()]))
  assert (np.ptp(ours.decompress(ours.compress(_image())), axis=(0, 1)) == 0).all()


@pytest.mark.parametrize("position", [0, 5, 20, -1])
def test_a_flipped_bit_is_an_error(position):
  data = bytearray(paper_codec().compress(_image()))
  data[position] ^= 4
  with pytest.raises(BitstreamError):
    paper_codec().decompress(bytes(data))


def test_other_weights_are_an_error():
  data = paper_codec().compress(_image())
  weights = paper_codec().weights
  low = weights.tables["low"] - 0.1
  other = Codec(dataclasses.replace(weights, tables={**weights.tables, "low": low}), None)
  with pytest.raises(BitstreamError, match="made with the weights 'tiny-paper'"):
    other.decompress(data)


def test_overhead_of_the_container_is_small():
  container = unpack(paper_codec().compress(_image()))
  assert len(paper_codec().compress(_image())) - len(container.sections[0]) < 46
  assert container.header.parameters == b""


def test_there_is_one_rate():
  with pytest.raises(ValueError, match="model 'tiny-paper' has one rate only; leave bpp out"):
    paper_codec().compress(_image(), bpp=1.0)
  encoded = paper_codec().encode(_image())
  assert (encoded.quality, encoded.rate_level) == (None, 0)
  assert own_codec.coded(paper_codec()).settings == ("8 bits",)
  assert [c.name for c in own_codec.file_codecs(paper_codec())] == [
    "tiny-paper",
    "tiny-paper-float",
  ]


def test_grey_and_opacity():
  pixels = _image()
  image = np.dstack([pixels[..., 0], pixels[..., 1]])
  data = paper_codec().compress(image)
  assert unpack(data).header.kind == Kind.GREY_ALPHA
  np.testing.assert_array_equal(paper_codec().decompress(data)[..., 1], image[..., 1])


def test_windows_leave_no_seam(monkeypatch):
  ours, image = paper_codec(), photo(128, 160)
  data = ours.compress(image)
  whole = ours.decompress(data)
  monkeypatch.setattr(windows, "WINDOW_SIDES", (64,))
  assert ours.compress(image) == data
  assert np.abs(ours.decompress(data).astype(int) - whole).max() <= 1


def test_a_variable_rate_codec_is_measured_at_qualities():
  ours = own_codec.coded(context_codec())
  assert ours.settings == ("0", "12.5", "25", "37.5", "50", "62.5", "75", "87.5", "100")
  assert own_codec.shown_setting(context_codec()) == "50"
  assert [c.name for c in own_codec.file_codecs(context_codec(), (1,))] == [
    ours.name,
    f"{ours.name}-effort1",
  ]
  assert own_codec.coded(context_codec(), qualities=(110, 62.5)).settings == ("110", "62.5")
  image = photo(100, 130)
  sizes = [len(ours.encode(image, setting)) for setting in (*ours.settings[:2], "99.75", "100")]
  assert sizes == sorted(sizes)
  assert set(ours.settings) < set(ours.search)
  assert [float(s) for s in ours.search] == sorted(map(float, ours.search))
  assert ours.decode(ours.encode(image, "25")).shape == image.shape


def test_load(tmp_path):
  path = tmp_path / "tiny.safetensors"
  save_weights(path, paper_codec().weights)
  loaded = codec.load(path)
  assert isinstance(loaded.coder, paper.Coder)
  data = paper_codec().compress(_image())
  np.testing.assert_array_equal(loaded.decompress(data), paper_codec().decompress(data))


def test_unknown_model():
  with pytest.raises(
    WeightsError, match="unknown model 'gan'; expected one of paper, context, fac"
  ):
    codec.from_weights(Weights("x", {"model": "gan"}, {}, {}))


def test_nothing_else_is_in_the_package():
  with pytest.raises(AttributeError, match="has no attribute 'PaperCodec'"):
    _ = codec.PaperCodec


def test_pictures_of_a_run_are_measured_as_they_are_drawn():
  """Whatever qualities and efforts the run has measured: it may lack the one that is drawn."""
  ours, image = context_codec(), photo(32, 48)
  figure = run_report.reconstructions(ours, [("a", image)])
  data = ours.compress(image, quality=50)
  words = {text.get_text() for axes in figure.axes for text in [axes.title, axes.xaxis.label]}
  assert any(f"{8 * len(data) / (32 * 48):.2f} bpp" in each for each in words)
