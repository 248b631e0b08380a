import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from cae_jax.data.views import image_digests, image_sizes
from cae_jax.errors import UsageError
from cae_jax.models.lossless import linear, passes
from cae_jax.models.lossless.phases import MARGIN, PARITIES
from cae_jax.training import lossless_blocks as blocks
from cae_jax.training import variations

AS_THEY_ARE = variations.Variation(shrink=(1.0, 1.0))


class _Source(list):
  pass


def _photograph(seed, shape=(90, 120)):
  rng = np.random.default_rng(seed)
  y, x = np.indices(shape)
  image = 128 + 80 * np.sin(x / 9 + seed) * np.cos(y / 7) + rng.normal(0, 3, (3, *shape))
  return np.clip(np.rint(image), 0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def source():
  return _Source({"image": _photograph(i), "name": str(i)} for i in range(3))


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
  return blocks.prepare(source, tmp_path_factory.mktemp("blocks"), AS_THEY_ARE)


@pytest.mark.parametrize("count", [1, 4, 5000])
def test_photographs_are_drawn_as_numpy_draws_them(count):
  """Of a run that is resumed the blocks stay what they were."""
  shares = np.random.default_rng(count).random(count) ** 4
  shares /= shares.sum()
  numpys, ours = np.random.default_rng(7), np.random.default_rng(7)
  for _ in range(200):
    expected = numpys.choice(count, p=shares)
    assert blocks._choose(ours, blocks._summed(shares)) == expected


def _files(folder):
  return {path.name: path.read_bytes() for path in folder.glob("*/*.*")}


def test_a_prepared_folder_is_used_again(source, tmp_path):
  store = blocks.prepare(source, tmp_path)
  assert store.shapes.max() <= 120 / 1.5
  assert len(store) >= 3
  [folder] = tmp_path.iterdir()
  before = (folder / "values.u8").stat().st_mtime_ns
  assert blocks.prepare(source, tmp_path).fingerprint == store.fingerprint
  assert (folder / "values.u8").stat().st_mtime_ns == before
  others = _Source([*source[:2], {"image": _photograph(7), "name": "2"}])
  assert blocks.prepare(others, tmp_path).fingerprint != store.fingerprint
  assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_preparation_goes_on(source, tmp_path):
  class Cut(_Source):
    def __getitem__(self, index):
      if index == 2:
        raise KeyboardInterrupt
      return super().__getitem__(index)

    def digests(self):
      return image_digests(source)

    def sizes(self):
      return image_sizes(source)

  with pytest.raises(KeyboardInterrupt):
    blocks.prepare(Cut(source), tmp_path / "cut")
  [folder] = (tmp_path / "cut").iterdir()
  for name in ("values.u8", "errors.i16", "index.jsonl"):  # as if killed while it wrote
    with (folder / name).open("ab") as file:
      file.write(b'[{"sha')
  blocks.prepare(source, tmp_path / "cut")
  blocks.prepare(source, tmp_path / "uncut")
  assert _files(tmp_path / "cut") == _files(tmp_path / "uncut")


def test_no_photographs(tmp_path):
  with pytest.raises(UsageError, match="expected photographs to learn from, got an empty source"):
    blocks.prepare(_Source(), tmp_path)


def test_shares_of_grey_and_subsampled_photographs(source, tmp_path):
  variation = dataclasses.replace(AS_THEY_ARE, grey=1.0)
  assert blocks.prepare(source, tmp_path, variation).grey.all()


def test_typical_crops_are_shrunk_and_cut(source):
  crops = list(variations.typical_crops(source, variations.Variation(shrink=(2.0, 2.0)), 2, 48))
  assert [crop.shape for crop in crops] == [(48, 48, 3)] * 2
  whole = Image.fromarray(source[0]["image"]).resize((60, 45), Image.Resampling.LANCZOS)
  np.testing.assert_array_equal(crops[0][:45], np.asarray(whole)[:, 6:54])


def test_errors_are_of_the_linear_stage(store):
  for number in np.flatnonzero(~store.grey):
    x, step = store.values[number], int(store.steps[number])
    side = passes.side_of(x, passes.Precision(step=step))
    coded = linear.code_linearly(x, side.coefficients, step)
    np.testing.assert_array_equal(store.known[number], coded.known)
    np.testing.assert_array_equal(store.errors[number], coded.errors)
    np.testing.assert_array_equal(store.log_sizes[number][:3], side.log_sizes[:3])


def _read(store, index, level, first, flips, side):
  return blocks.BlockIterator(store, 4, side)._read(index, level, first, flips)


def test_blocks_are_parts_of_a_level(store):
  step, level, side = 4, 1, 4
  block = _read(store, 1, level, [2, 3], [0, 0], side)
  x, e = store.values[1], store.errors[1]
  inner = slice(MARGIN, MARGIN + side)
  rows, columns = slice(2 * step, (2 + side) * step, step), slice(3 * step, (3 + side) * step, step)
  np.testing.assert_array_equal(block["values"][0, :, inner, inner], x[:, rows, columns])
  odd = slice(2 * step + 2, (2 + side) * step + 2, step)
  np.testing.assert_array_equal(block["errors"][3, :, inner, inner], e[:, odd, columns])
  np.testing.assert_array_equal(block["log_sizes"], store.log_sizes[1, level])


def test_flipped_blocks_keep_their_phases(store):
  """A flipped block is a block of the flipped picture, so far from borders."""
  side = 6
  values = _read(store, 0, 0, [5, 8], [1, 1], side)["values"]
  x = store.values[0]
  # Pixel (0, 0) of the block is the last of the plain one.
  for plane, (r, c) in enumerate(PARITIES):
    i, j = 5 + side - 1, 8 + side - 1
    expected = x[:, 2 * i - r, 2 * j - c]
    np.testing.assert_array_equal(values[plane, :, MARGIN, MARGIN], expected)


def test_blocks_of_small_photographs_repeat_what_is_there(tmp_path):
  source = _Source([{"image": _photograph(0, (2, 9)), "name": "small"}])
  store = blocks.prepare(source, tmp_path, AS_THEY_ARE)
  batch = next(blocks.BlockIterator(store, 32, side=4))
  assert set(np.unique(batch["values"])) <= {
    *np.unique(store.values[0]),
    *np.unique(store.values[-1]),
  }


def test_batches_depend_on_their_number_alone(store):
  first = blocks.BlockIterator(store, 4, side=4, seed=3)
  _, second = next(first), next(first)
  resumed, elsewhere = (blocks.BlockIterator(store, 4, side=4, seed=seed) for seed in (3, 4))
  state = json.loads(json.dumps(first.get_state()))
  resumed.set_state({**state, "next_batch": 1})
  for name, array in next(resumed).items():
    np.testing.assert_array_equal(array, second[name])
  assert resumed.get_state() == state
  assert second["values"].shape == (4, 4, 3, 4 + 2 * MARGIN, 4 + 2 * MARGIN)
  assert elsewhere.differences(state) == ["seed was 3, is 4"]
  with pytest.raises(UsageError, match="of other patches: seed was 3, is 4"):
    elsewhere.set_state(state)


def test_processes_share_a_batch(store):
  whole = next(blocks.BlockIterator(store, 6, side=4))
  parts = [next(blocks.BlockIterator(store, 6, 4, shard_index=i, shard_count=3)) for i in range(3)]
  for name, array in whole.items():
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


@pytest.mark.parametrize("seed", range(6))
def test_subsampled_chroma_keeps_luma_and_size(seed):
  image = _photograph(seed, (31, 45))
  found = variations.subsample_chroma(image, np.random.default_rng(seed))
  assert found.shape == image.shape
  luma = lambda x: x @ np.array([0.299, 0.587, 0.114])
  assert np.abs(luma(found) - luma(image)).mean() < 1
  assert np.abs(found.astype(int) - image).mean() > 1
