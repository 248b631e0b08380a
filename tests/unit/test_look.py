"""Looks: their file, and what a codec makes of a file with one."""

import dataclasses
import functools
import io
import pickle

import jax
import numpy as np
import pytest
from PIL import Image

import cae_jax.pillow
from cae_jax import api, codec
from cae_jax.codec.coders import programs
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.errors import UsageError
from cae_jax.evaluation import names
from cae_jax.evaluation.codecs import own_codec
from cae_jax.images.files import read_image
from cae_jax.models.context.look import moved
from cae_jax.weights import WeightsError, save_weights, shipped
from cae_jax.weights.look import load_look, look_file, save_look
from tests.command_line import one_error, run
from tests.lossless import tiny_weights
from tests.models import context_codec, context_look, context_weights, looking_codec, photo

IMAGE = photo(40, 56)


@functools.cache
def data(quality=30.0):
  return context_codec().compress(IMAGE, quality=quality)


def test_file_keeps_everything(tmp_path):
  path = tmp_path / "tiny.look.safetensors"
  save_look(path, context_look())
  again = load_look(path)
  for name in ("weights_name", "weights_hash", "fade", "card"):
    assert getattr(again, name) == getattr(context_look(), name)
  jax.tree.map(np.testing.assert_array_equal, again.difference, context_look().difference)
  assert jax.tree.leaves(again.difference)[0].dtype == np.float16
  damaged = bytearray(path.read_bytes())
  damaged[-1] ^= 1
  path.write_bytes(damaged)
  with pytest.raises(WeightsError, match=r"tiny\.look\.safetensors: the content does not match"):
    load_look(path)
  save_weights(path, context_weights())
  with pytest.raises(WeightsError, match="expected 'cae_jax look 1', got 'cae_jax weights 1'"):
    load_look(path)


def test_the_hash_is_of_all_that_changes_pictures():
  look = context_look()
  doubled = jax.tree.map(lambda a: 2 * a, look.difference)
  changes = {"fade": (45.0, 81.0)}, {"weights_hash": "11" * 8}, {"difference": doubled}
  others = [dataclasses.replace(look, **change) for change in changes]
  assert len({each.hash() for each in (look, *others)}) == 4
  assert dataclasses.replace(look, card={"a": 1}, weights_name="b").hash() == look.hash()


def test_a_look_fades_where_the_quality_is_high():
  assert [context_look().strength(0.5, q) for q in (0, 45, 62.5, 80, 100)] == [0.5, 0.5, 0.25, 0, 0]


def test_no_look_is_what_it_was_to_the_bit():
  expected = context_codec().decompress(data())
  for ours in (looking_codec(), pickle.loads(pickle.dumps(looking_codec()))):
    np.testing.assert_array_equal(ours.decompress(data()), expected)
    np.testing.assert_array_equal(ours.decompress(data(), look=0.0), expected)
  np.testing.assert_array_equal(looking_codec().preview(data()), context_codec().preview(data()))


def test_a_look_is_the_synthesis_with_other_weights():
  """Those that training has: W0 + B dW."""
  params = moved(context_weights().params, context_look().difference, np.float32(0.7))
  basis = params["synthesis"]["basis"]
  assert basis is context_weights().params["synthesis"]["basis"]
  other = codec.from_weights(dataclasses.replace(context_weights(), params=params))
  coder = context_codec().coder
  _, y_hat = coder.decode(coder.encode(coder.analyse(IMAGE), 1000).section, (3, 4), 1000)
  seen = coder.looking(context_look().difference, 0.7).synthesise(y_hat, 1000)
  np.testing.assert_array_equal(seen, other.coder.synthesise(y_hat, 1000))
  assert (seen != coder.synthesise(y_hat, 1000)).any()


def test_every_look_runs_the_same_program():
  looking_codec().decompress(data())
  compiled = programs.synthesise._cache_size()
  images = [
    looking_codec().decompress(data(), look=amount) for amount in (0, 0.3, np.float32(1), 1)
  ]
  assert programs.synthesise._cache_size() == compiled
  np.testing.assert_array_equal(images[2], images[3])
  errors = [np.abs(image.astype(int) - images[0]).mean() for image in images]
  assert 0 == errors[0] < errors[1] < errors[3]


def test_regions_and_pickled_codecs_have_the_look():
  whole = looking_codec().decompress(data(), look=0.5)
  part = looking_codec().decompress(data(), look=0.5, region=(3, 4, 20, 30))
  np.testing.assert_array_equal(part, whole[3:23, 4:34])
  again = pickle.loads(pickle.dumps(looking_codec()))
  np.testing.assert_array_equal(again.decompress(data(), look=0.5), whole)


def test_high_qualities_have_one_look():
  fine = data(85.0)
  np.testing.assert_array_equal(
    looking_codec().decompress(fine, look=1), context_codec().decompress(fine)
  )


def test_lossless_files_have_one_look():
  exact = LosslessCodec(tiny_weights())
  np.testing.assert_array_equal(exact.decompress(exact.compress(IMAGE), look=1), IMAGE)


@pytest.mark.parametrize(
  ("amount", "message"),
  [
    (1.01, r"look 1.01: expected a number from 0, closest to the original, to 1"),
    (-0.1, "look -0.1: expected a number from 0"),
    (float("nan"), "look nan: expected a number from 0"),
    ("much", "look 'much': expected a number, got str"),
    (True, "look True: expected a number"),
  ],
)
def test_what_is_no_look(amount, message):
  for ours in (looking_codec(), context_codec(), LosslessCodec(tiny_weights())):
    with pytest.raises(UsageError, match=message):
      ours.decompress(data(), look=amount)


def test_weights_without_a_look():
  with pytest.raises(UsageError, match=r"'tiny' have no look; leave look 0.7 out, make files for"):
    context_codec().decompress(data(), look=0.7)


def test_a_look_belongs_to_its_weights():
  other = dataclasses.replace(context_look(), weights_hash="00" * 8, weights_name="other")
  with pytest.raises(WeightsError, match=r"look beside .*'tiny' \(.*\) belongs to 'other' \(0000"):
    codec.from_weights(context_weights(), other)
  wrong = dataclasses.replace(context_look(), difference={"synthesis": {"basis": np.zeros(3)}})
  with pytest.raises(WeightsError, match=r"synthesis/basis of shape \(3,\), expected \(768, 32\)"):
    codec.from_weights(context_weights(), wrong)


def test_the_evaluation_measures_looks():
  ours, half = own_codec.file_codecs(looking_codec(), looks=[0.5])
  assert (ours.name, half.name) == ("tiny", "tiny-look0.5")
  assert names.label(half.name) == "tiny, look 0.5"
  assert half.settings == ours.settings
  assert half.version == f"{ours.version}, look {context_look().hash().hex()}"
  np.testing.assert_array_equal(half.decoder(data()), looking_codec().decompress(data(), look=0.5))
  with pytest.raises(UsageError, match=r"'tiny' have no look; leave look 0.5 out"):
    own_codec.file_codecs(context_codec(), looks=[0.5])


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The package has tiny weights, and a look of the lossy ones."""
  folder = tmp_path / "weights"
  folder.mkdir()
  save_weights(folder / "tiny.safetensors", context_weights())
  save_weights(folder / "exact.safetensors", tiny_weights())
  save_look(look_file(folder / "tiny.safetensors"), context_look())
  monkeypatch.setattr(shipped, "FOLDER", folder)
  api._codec.cache_clear()
  yield folder
  api._codec.cache_clear()


def test_the_package_finds_the_look_beside_the_weights(folder):
  assert shipped.shipped().keys() == {"tiny", tiny_weights().name}
  expected = looking_codec().decompress(data(), look=0.7)
  np.testing.assert_array_equal(cae_jax.decompress(data(), look=0.7), expected)
  image = Image.open(io.BytesIO(data()))
  image.load(look=0.7)
  np.testing.assert_array_equal(np.asarray(image), expected)
  with pytest.raises(UsageError, match="the pixels are there already"):
    image.load(look=0.3)


def test_the_command(folder, tmp_path, capsys):
  lossy, exact, out = tmp_path / "a.cae", tmp_path / "b.cae", tmp_path / "out.png"
  lossy.write_bytes(data())
  exact.write_bytes(LosslessCodec(tiny_weights()).compress(IMAGE))
  assert run("decompress", lossy, out, "--look=0.7") == 0
  np.testing.assert_array_equal(
    read_image(out).pixels, looking_codec().decompress(data(), look=0.7)
  )
  assert run("decompress", exact, out, "--look=0.7", "--force") == 0
  assert "look not used: for lossy files only" in capsys.readouterr().out
  np.testing.assert_array_equal(read_image(out).pixels, IMAGE)
  assert run("decompress", lossy, out, "--look=2", "--force") == 2
  assert "look 2: expected a number from 0" in one_error(capsys)
  assert run("decompress", lossy, out, "--look=1", "--preview", "--force") == 2
  assert "leave --look out" in one_error(capsys)
  look_file(folder / "tiny.safetensors").unlink()
  api._codec.cache_clear()
  assert run("decompress", lossy, out, "--look=0.7", "--force") == 2
  assert "the weights 'tiny' have no look" in one_error(capsys)
