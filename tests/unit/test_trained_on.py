"""What a weights' card tells of the images trained on, and what that comes to."""

import dataclasses
import hashlib
import json
import types

import numpy as np
import pytest

from cae_jax.data import trained_on
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.errors import UsageError
from cae_jax.weights import save_weights
from experiments import evaluate_lossless, train
from experiments.program_flags import parse
from tests.models import paper_codec


def digests(count, start=0):
  return [hashlib.sha256(str(number).encode()).digest() for number in range(start, start + count)]


def through_a_card(value):
  return TrainedOn.from_card(json.loads(json.dumps({"step": 1, **value.to_card()})))


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_images_are_known_by_their_pixels_alone(count):
  ours, others = digests(count), digests(1000, start=count)
  found = through_a_card(TrainedOn.of(ours))
  assert all(found.has("any name", digest) for digest in ours)
  assert not any(found.has("0", digest) for digest in others)


def test_the_card_stays_small():
  card = TrainedOn.of(digests(3000)).to_card()
  assert len(json.dumps(card)) < 8 * 3000 + 50


def test_a_lossless_evaluation_leaves_out_what_was_trained_on(capsys):
  grey = np.arange(600, dtype=np.uint8).reshape(20, 30)
  seen = TrainedOn.of([pixel_digest(np.stack([grey] * 3, -1))])
  codec = types.SimpleNamespace(weights=types.SimpleNamespace(card=seen.to_card()))
  image_sets = {
    "mixed": [("seen", grey), ("turned", grey[::-1]), ("deep", grey.astype(np.uint16) * 9)],
    "other": [("b", grey.T)],
  }
  left = evaluate_lossless._unseen(codec, image_sets)
  assert [name for name, _ in left["mixed"]] == ["turned", "deep"]
  assert [name for name, _ in left["other"]] == ["b"]
  assert capsys.readouterr().out == "1 of 3 images of mixed left out: trained on\n"
  with pytest.raises(UsageError, match=r"^the weights were trained on all 1 images of mixed$"):
    evaluate_lossless._unseen(codec, {"mixed": image_sets["mixed"][:1]})


def test_names_of_older_cards_count_as_they_did():
  found = TrainedOn.from_card({"trained_on": ["a.png", "b.png"]})
  [digest] = digests(1)
  assert found.has("a.png", digest)
  assert not found.has("c.png", digest)
  assert TrainedOn.from_card({}) == TrainedOn()


def test_a_run_from_weights_has_seen_what_they_have():
  old = TrainedOn.from_card({"trained_on": ["a.png"]})
  first, second = digests(2)
  both = through_a_card(old | TrainedOn.of([first]) | TrainedOn.of([first, second]))
  assert both == TrainedOn(TrainedOn.of([first, second]).digests, frozenset({"a.png"}))


def test_a_run_from_weights_says_so_in_its_card(tmp_path):
  start, ours = digests(3), np.zeros((8, 8, 3), np.uint8)
  weights = dataclasses.replace(paper_codec().weights, card=TrainedOn.of(start).to_card())
  save_weights(tmp_path / "start.safetensors", weights)
  args = parse(train.define_flags, [f"--start_weights={tmp_path / 'start.safetensors'}"])
  found = train._trained_on(args, tmp_path, [{"image": ours, "name": "a.png"}])
  assert found == TrainedOn.of([*start, pixel_digest(ours)])
  assert train._trained_on(parse(train.define_flags, []), tmp_path, []) == TrainedOn()


def test_images_to_measure_on_that_were_trained_on_are_told(capsys):
  images = [{"image": np.full((8, 8, 3), i, np.uint8), "name": f"{i}.png"} for i in range(4)]
  seen = TrainedOn.of(pixel_digest(image["image"]) for image in images[:2])
  args = parse(train.define_flags, ["--valid_split=all", "--test_split=test"])
  train._say_seen(args, seen, valid=images[1:], test=images[2:])
  assert capsys.readouterr().out.splitlines() == [
    "note: 1 of 3 images of --valid_split=all were trained on, here or before; the checkpoint is "
    "chosen by what it has learnt from"
  ]
  train._say_seen(args, seen, valid=None, test=images[:2])
  assert "note: 2 of 2 images of --test_split=test were trained on" in capsys.readouterr().out


def test_a_carried_run_says_so_in_its_card(tmp_path):
  place = {"next_batch": 7, "config": {}, **TrainedOn.of(digests(3)).to_card()}
  train._keep_trained_on(tmp_path, json.loads(json.dumps(place)))
  args = parse(train.define_flags, [])
  assert train._trained_on(args, tmp_path, []) == TrainedOn.of(digests(3))
  train._keep_trained_on(tmp_path, {"next_batch": 7, "config": {}})  # of an older version
  assert train._trained_on(args, tmp_path, []) == TrainedOn()


def test_beyond_a_number_only_the_number_is_kept(monkeypatch):
  monkeypatch.setattr(trained_on, "LISTED", 4)
  assert through_a_card(TrainedOn.of(digests(4))).unlisted == 0
  many = through_a_card(TrainedOn.of(digests(5)))
  assert many == TrainedOn(unlisted=5)
  more = through_a_card(many | TrainedOn.of(digests(2)))
  assert (more.unlisted, len(more.digests)) == (5, 2)
