"""Weights tuned for PSNR and for the eye beside each other, and files of an SSIMULACRA2 score."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import cae_jax
from cae_jax import api, codec, compile_cache
from cae_jax.codec import encoding
from cae_jax.codec.coders import masking
from cae_jax.codec.info import TUNES
from cae_jax.codec.kinds import visible_ssimulacra2
from cae_jax.coding.bitstream import unpack
from cae_jax.commands import compressing
from cae_jax.images.files import encode_image, write_image
from cae_jax.images.metrics import psnr_db, ssimulacra2
from cae_jax.weights import load_weights, save_weights, shipped
from tests.command_line import one_error, run
from tests.lossless import tiny_weights
from tests.models import context_codec, context_weights, photo

IMAGE = photo(64, 64, seed=2)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  """The shipped weights are tiny ones, under the names of two tunes."""
  monkeypatch.setenv(compile_cache.ENVIRONMENT, "")
  folder = tmp_path / "weights"
  folder.mkdir()
  save_weights(folder / "tiny.safetensors", context_weights())
  save_weights(folder / f"{shipped.EYE}.safetensors", _eye())
  save_weights(folder / "exact.safetensors", tiny_weights())
  monkeypatch.setattr(shipped, "LOSSLESS", tiny_weights().name)
  monkeypatch.setattr(shipped, "FOLDER", folder)
  monkeypatch.setattr(shipped, "DEFAULT", "tiny")
  api._codec.cache_clear()
  yield folder
  api._codec.cache_clear()


def _eye():
  """Other weights than the tiny ones, by their hash as well."""
  params = {**context_weights().params}
  params["log_step"] = params["log_step"] + np.asarray(0.01, params["log_step"].dtype)
  card = {**context_weights().card, "flags": {"distortion": "--distortion=eye"}}
  return dataclasses.replace(context_weights(), name=shipped.EYE, params=params, card=card)


def test_every_tune_of_files_has_weights():
  cards = [load_weights(shipped.find(shipped.tuned(tune))).card for tune in TUNES]
  assert [shipped.tune_of(card) for card in cards] == list(TUNES)


def test_files_say_their_tune_and_are_decoded_by_its_weights():
  files = {tune: cae_jax.compress(IMAGE, quality=60, tune=tune) for tune in TUNES}
  for tune, data in files.items():
    name = shipped.tuned(tune)
    content = cae_jax.info(data)
    assert (content.tune, content.model_id) == (tune, name)
    expected = codec.from_weights(load_weights(shipped.find(name))).decompress(data)
    np.testing.assert_array_equal(cae_jax.decompress(data), expected)
  assert cae_jax.compress(IMAGE, quality=60) == files["eye"]
  assert cae_jax.info(cae_jax.compress(IMAGE, psnr=20)).tune == "psnr"
  assert cae_jax.info(files["psnr"]).model_hash != cae_jax.info(files["eye"]).model_hash


def test_the_command(tmp_path, capsys):
  picture, cae = tmp_path / "a.png", tmp_path / "a.cae"
  write_image(picture, IMAGE)
  assert run("compress", picture, cae, "--tune=eye", "--quality=25") == 0
  assert run("info", cae) == 0
  assert ", quality 25.0, tuned for eye\n" in capsys.readouterr().out
  assert run("decompress", cae, tmp_path / "b.png") == 0
  (shipped.FOLDER / f"{shipped.EYE}.safetensors").unlink()
  api._codec.cache_clear()
  capsys.readouterr()
  assert run("decompress", cae, tmp_path / "b.png", "--force") == 2
  said = one_error(capsys)
  assert f"made with the weights {shipped.EYE!r}" in said
  assert "which do not come with this version of cae_jax" in said
  assert said.endswith("give their file with --weights")


@pytest.mark.parametrize("command", ["compress", "compare"])
def test_a_tune_whose_weights_are_not_shipped(command, folder, tmp_path, capsys):
  (folder / f"{shipped.EYE}.safetensors").unlink()
  with pytest.raises(
    cae_jax.UsageError, match="'eye': its weights are not shipped in this version"
  ):
    cae_jax.compress(IMAGE, tune="eye")
  picture = tmp_path / "a.png"
  write_image(picture, IMAGE)
  target = {"compress": [f"--output_dir={tmp_path}"], "compare": ["--no_open"]}[command]
  assert run(command, picture, *target, "--tune=eye") == 2
  said = one_error(capsys)
  assert said.startswith(
    "error: tune 'eye': its weights are not shipped in this version of cae_jax"
  )
  assert said.endswith("; leave tune out")


@pytest.mark.parametrize(
  ("asked", "message"),
  [
    ({"tune": "ear"}, "tune 'ear': expected psnr or eye"),
    ({"tune": "eye", "lossless": True}, "lossless leaves nothing to be tuned; leave tune out"),
    ({"tune": "psnr", "near_lossless": 2}, "near_lossless leaves nothing to be tuned"),
    ({"tune": "psnr", "psnr": float("inf")}, "lossless leaves nothing to be tuned"),
    ({"ssimulacra2": 100.1}, "ssimulacra2 100.1: expected a score of at most 100"),
    ({"ssimulacra2": 0}, "ssimulacra2 0: expected a positive number"),
    ({"ssimulacra2": 50, "psnr": 30}, "expected one target, got psnr and ssimulacra2"),
  ],
)
def test_what_makes_no_sense(asked, message):
  with pytest.raises(cae_jax.UsageError, match=message):
    cae_jax.compress(IMAGE, **asked)


def test_weights_and_tune_are_two_words_for_one_thing(tmp_path, capsys):
  picture, cae = tmp_path / "a.png", tmp_path / "a.cae"
  write_image(picture, IMAGE)
  assert run("compress", picture, cae, "--weights=tiny", "--tune=psnr") == 2
  assert "--tune: not allowed with argument --weights" in one_error(capsys)
  assert run("compress", picture, cae, "--tune=ear") == 2
  assert "choose from" in one_error(capsys)
  with pytest.raises(cae_jax.UsageError, match="weights and tune both say which weights to take"):
    compressing.compress_bytes(picture.read_bytes(), "a.png", weights="tiny", tune="psnr")


def test_an_effort_is_refused_for_the_eye():
  words = "effort 1 lowers squared errors; .*; leave effort out, or give tune psnr"
  for asked in ({}, {"bpp": 1}, {"tune": "eye"}, {"tune": "eye", "psnr": 30}):
    with pytest.raises(cae_jax.UsageError, match=words):
      cae_jax.compress(IMAGE, effort=1, **asked)
    with pytest.raises(cae_jax.UsageError, match=words):
      compressing.compress_bytes(encode_image("a.png", IMAGE)[0], "a.png", effort=1, **asked)
  with pytest.raises(cae_jax.UsageError, match="lossless has one effort only"):
    cae_jax.compress(IMAGE, effort=1, lossless=True)


def test_a_tune_that_is_not_used_is_told():
  deep = encode_image("a.png", IMAGE.astype(np.uint16) * 257)[0]
  found = compressing.compress_bytes(deep, "a.png", psnr=60, tune="psnr")
  assert found.notes == ["tune not used: for lossy files only"]


def test_a_score_is_met():
  ours = context_codec()
  worst, best = (ours.encode(IMAGE, quality=quality).ssimulacra2 for quality in (0, 175))
  wanted = (max(worst, 1) + best) / 2
  found = ours.encode(IMAGE, ssimulacra2=wanted)
  decoded = ours.decompress(found.data)
  assert found.ssimulacra2 == pytest.approx(ssimulacra2(IMAGE, decoded, recursive=False), abs=0.01)
  assert found.ssimulacra2 >= wanted
  lower = found._source.encode(found.rate_level - 32)  # small pictures are uneven
  assert found.ssimulacra2 <= wanted + 0.2 or lower.ssimulacra2 < wanted
  with pytest.raises(
    cae_jax.UsageError, match=r"score of 99.9 cannot be met: this image has \d+\."
  ):
    ours.encode(IMAGE, ssimulacra2=99.9)
  beyond = cae_jax.encode(IMAGE, ssimulacra2=99)
  assert beyond.how.startswith(("near-lossless", "lossless"))


@pytest.mark.parametrize("wanted", [10, 30, 50, 60, 70, 78])
def test_a_score_of_a_photograph_takes_few_trials(wanted):
  scores = [-23.8, -5.9, 14.5, 33.6, 47.7, 59.7, 69.8, 75.6, 79.5]  # of a photograph, by `eye3`
  asked = []

  def encode(level, _):
    asked.append(level)
    return SimpleNamespace(ssimulacra2=np.interp(level, range(0, 4097, 512), scores))

  source = SimpleNamespace(
    coder=SimpleNamespace(rate_levels=4096, finest_level=7168), encode=encode
  )
  found = encoding.encode_ssimulacra2(source, wanted, effort=0)
  assert wanted <= found.ssimulacra2 <= wanted + 0.3
  assert len(asked) <= 4


def test_scores_of_all_kinds():
  noise = np.random.default_rng(0).integers(-30, 31, (24, 24))
  grey = np.clip(np.add.outer(np.arange(24), np.arange(24)) * 5 + 9, 0, 255).astype(np.uint8)
  grey_hat = np.clip(grey + noise, 0, 255).astype(np.uint8)
  rgb, rgb_hat = (np.repeat(x[..., None], 3, axis=2) for x in (grey, grey_hat))
  expected = float(ssimulacra2(rgb, rgb_hat, recursive=False))
  assert visible_ssimulacra2(rgb, rgb) == 100
  assert expected < 90
  for image, image_hat in ((grey, grey_hat), (rgb, rgb_hat)):
    assert visible_ssimulacra2(image, image_hat) == pytest.approx(expected)
    deep = [x.astype(np.uint16) * 257 for x in (image, image_hat)]
    assert visible_ssimulacra2(*deep) == pytest.approx(expected, abs=1e-3)
    seen, hidden = np.full((24, 24, 1), 1, np.uint8), np.zeros((24, 24, 1), np.uint8)
    with_alpha = lambda x, alpha: np.concatenate([x.reshape(24, 24, -1), alpha], axis=2)
    for alpha, score in ((seen, expected), (hidden, 100)):
      pair = with_alpha(image, alpha), with_alpha(image_hat, alpha)
      assert visible_ssimulacra2(*pair) == pytest.approx(score)
  with pytest.raises(cae_jax.UsageError, match=r"at least 8 x 8 pixels, got 9 x 7; give a quality"):
    visible_ssimulacra2(rgb[:7, :9], rgb[:7, :9])


def test_errors_count_more_where_little_goes_on(monkeypatch):
  rng = np.random.default_rng(0)
  image = np.full((40, 100, 3), 90, np.uint8)
  image[:, 48:] = rng.integers(0, 256, (40, 52, 1))
  found = masking.classes(image, 16)
  assert found.shape == (3, 7)
  weights = masking.WEIGHTS[found]
  assert (weights[:, :3] > 1).all()
  assert (weights[:, 3:] < 1).all()
  assert masking.WEIGHTS[masking.classes(image[:, :48], 16)].tolist() == [[1.0] * 3] * 3
  tall = np.tile(image, (3, 1, 1))
  expected = masking.classes(tall, 16)
  monkeypatch.setattr(masking, "_STRIP", 2)
  np.testing.assert_array_equal(masking.classes(tall, 16), expected)


def test_what_counts_more_is_coded_more_finely():
  coder = context_codec().coder
  y = coder.analyse(photo(192, 256, seed=2))
  last = len(masking.WEIGHTS) - 1
  plain = coder.encode(y, 3000)
  low, even, high = (
    coder.encode(y, 3000, None, np.full(y.shape[:2], number)) for number in (0, last // 2, last)
  )
  assert even.section == plain.section
  assert len(low.section) < len(even.section) < len(high.section)
  steps = y * coder.encoder.gain(3000)
  errors = [np.square(coded.y_hat - steps).mean() for coded in (low, even, high)]
  assert errors[0] > errors[1] > errors[2]


def test_only_files_for_the_eye_weigh_errors():
  image = photo(64, 64, seed=2)
  image[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 1))
  card = {"flags": {"distortion": "--distortion=eye"}}
  same = dataclasses.replace(context_weights(), card=card)
  plain, ours = (codec.from_weights(weights) for weights in (context_weights(), same))
  psnr, eye = (each.encode(image, quality=60) for each in (plain, ours))
  assert unpack(psnr.data).sections != unpack(eye.data).sections
  assert psnr_db(image, ours.decompress(eye.data)) == pytest.approx(eye.psnr_db, abs=0.01)


def test_files_of_one_command_are_decompressed_by_one(folder, tmp_path, capsys):
  """Where the given weights cannot reach a goal, the shipped lossless ones do."""
  mine = tmp_path / "mine.safetensors"
  save_weights(mine, dataclasses.replace(context_weights(), name="mine"))
  picture, weights = tmp_path / "a.png", f"--weights={mine}"
  write_image(picture, IMAGE)
  for goal in ("--quality=50", "--psnr=80"):
    assert run("compress", picture, tmp_path / f"{goal}.cae", goal, weights) == 0
  out = f"--output_dir={tmp_path / 'out'}"
  files = [tmp_path / f"{goal}.cae" for goal in ("--quality=50", "--psnr=80")]
  assert [cae_jax.info(file.read_bytes()).model_id for file in files] == ["mine", shipped.LOSSLESS]
  assert run("decompress", *files, out, weights) == 0
  assert run("decompress", *files, out, "--force") == 2
  assert capsys.readouterr().err.count("made with the weights 'mine'") == 1


def test_lossy_weights_make_no_lossless_files(folder, tmp_path, capsys):
  write_image(tmp_path / "a.png", IMAGE)
  for option in ("--lossless", "--near_lossless=1"):
    arguments = tmp_path / "a.png", tmp_path / "a.cae", option, "--weights=tiny"
    assert run("compress", *arguments) == 2
    assert "the weights tiny are lossy" in one_error(capsys)


def test_hidden_colours_that_a_lossy_file_drops_are_told(folder, tmp_path, capsys):
  write_image(tmp_path / "a.png", np.dstack([IMAGE, np.full(IMAGE.shape[:2], 9, np.uint8)]))
  assert run("compress", tmp_path / "a.png", tmp_path / "a.cae", "--keep_hidden_colour") == 0
  assert "keep_hidden_colour not used: for lossless files only" in capsys.readouterr().out
