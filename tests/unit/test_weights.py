import dataclasses
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from cae_jax.weights import (
  FORMAT,
  Weights,
  WeightsError,
  load_weights,
  look,
  read_metadata,
  save_weights,
)
from tests.no_weights import NO_WEIGHTS, no_weights


def _weights():
  return Weights(
    name="tiny",
    config={"model": "paper", "channels": [4, 8]},
    params={"analysis": {"Conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}},
    tables={"low": np.zeros(2, np.float32), "code": {"cdf": np.array([[0, 4]], np.int32)}},
    card={"steps": 3},
  )


def test_file_keeps_everything(tmp_path):
  path = tmp_path / "tiny.safetensors"
  save_weights(path, _weights())
  loaded = load_weights(path)
  assert (loaded.name, loaded.config, loaded.card) == ("tiny", _weights().config, {"steps": 3})
  kernel = loaded.params["analysis"]["Conv_0"]["kernel"]
  np.testing.assert_array_equal(kernel, np.arange(6).reshape(2, 3))
  np.testing.assert_array_equal(loaded.tables["code"]["cdf"], [[0, 4]])
  assert loaded.hash() == _weights().hash()
  assert loaded.hash() is loaded.hash()  # computed once


def test_views_are_kept_as_they_look(tmp_path):
  kernel = np.arange(12.0).reshape(3, 4)
  for number, view in enumerate([kernel.T, kernel[:, ::2], kernel[::-1], np.float32(3)]):
    path = tmp_path / f"{number}.safetensors"
    save_weights(path, dataclasses.replace(_weights(), params={"layer": {"kernel": view}}))
    np.testing.assert_array_equal(load_weights(path).params["layer"]["kernel"], view)


def test_hash_is_of_what_changes_the_pictures():
  weights = _weights()
  assert dataclasses.replace(weights, name="other", card={}).hash() == weights.hash()
  assert dataclasses.replace(weights, config={"model": "paper"}).hash() != weights.hash()
  low = {**weights.tables, "low": np.full(2, 1e-6, np.float32)}
  assert dataclasses.replace(weights, tables=low).hash() != weights.hash()


def test_missing_file(tmp_path):
  with pytest.raises(WeightsError, match="no such weights file"):
    load_weights(tmp_path / "none.safetensors")


def test_file_of_another_kind(tmp_path):
  foreign = tmp_path / "foreign.safetensors"
  save_file({"x": np.zeros(3)}, foreign)
  with pytest.raises(WeightsError, match="expected 'cae_jax weights 1', got 'no format entry'"):
    load_weights(foreign)


@pytest.mark.parametrize("read", [load_weights, read_metadata])
@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_what_is_no_readable_file_is_named(tmp_path, name, read):
  path = no_weights(tmp_path, name)
  with pytest.raises(WeightsError, match=rf"^{re.escape(str(path))}: n.*safetensors"):
    read(path)


@pytest.mark.parametrize(
  ("metadata", "words"),
  [
    ({}, "'name'"),
    ({"name": "a", "config": "{"}, "Expecting property name"),
    ({"name": "a", "config": "{}", "card": "{}", "part_hash": "0"}, "'hash'"),
  ],
)
def test_a_file_that_says_too_little_is_named(tmp_path, metadata, words):
  path = tmp_path / "some.safetensors"
  save_file({"a": np.zeros(3)}, path, metadata={"format": FORMAT, **metadata})
  with pytest.raises(WeightsError, match=rf"some\.safetensors: a damaged weights file \({words}"):
    load_weights(path)


def test_a_look_that_says_too_little_is_named(tmp_path):
  path = tmp_path / "some.look.safetensors"
  for fade in ("[1]", "2", "{"):
    metadata = {"format": look.FORMAT, "fade": fade, "card": "{}", "name": "a", "weights": "b"}
    save_file({"a": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(WeightsError, match=r"look\.safetensors: a damaged look file"):
      look.load_look(path)


def test_arrays_below_others_are_named(tmp_path):
  path = tmp_path / "odd.safetensors"
  save_file({"params/a": np.zeros(3), "params/a/b": np.zeros(3)}, path, {"format": FORMAT})
  with pytest.raises(WeightsError, match=r"odd\..*the array 'params/a/b' below another one"):
    load_weights(path)


def test_types_that_numpy_lacks_are_named(tmp_path):
  array = {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}
  header = json.dumps({"__metadata__": {"format": FORMAT}, "params/a": array}).encode()
  path = tmp_path / "odd.safetensors"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(1))
  with pytest.raises(WeightsError, match=r"odd\..*: not a readable safetensors file \(.*float"):
    load_weights(path)


def test_changed_content_is_noticed(tmp_path):
  path = tmp_path / "tiny.safetensors"
  save_weights(path, _weights())
  data = bytearray(path.read_bytes())
  data[-1] ^= 1  # in the tensors
  path.write_bytes(data)
  with pytest.raises(WeightsError, match="does not match its hash"):
    load_weights(path)
