"""Our codec against others: many images pass through, few are in memory."""

import dataclasses
import weakref

import numpy as np
import pytest

from cae_jax import processes
from cae_jax.data import sources
from cae_jax.errors import UsageError
from cae_jax.evaluation import comparison
from cae_jax.evaluation.codecs import own_codec
from cae_jax.evaluation.codecs.base import FileCodec
from tests.models import context_codec, paper_codec


class Pictures(sources.ImageSource):
  """Twenty small pictures, which know how many of them are in memory."""

  def __init__(self):
    self.alive = self.most_alive = 0

  def __len__(self):
    return 20

  def __getitem__(self, index):
    if not 0 <= index < 20:
      raise IndexError(index)
    image = np.full((16, 16, 3), index, np.uint8)
    weakref.finalize(image, self._forget)
    self.alive += 1
    self.most_alive = max(self.most_alive, self.alive)
    return {"image": image, "name": str(index)}

  def _forget(self):
    self.alive -= 1


def raw(name):
  """A codec that stores the pixels."""
  restore = lambda data: np.frombuffer(data, np.uint8).reshape(16, 16, 3)
  return FileCodec(name, "1", ("only",), ("only",), lambda x, _: x.tobytes(), restore)


def test_images_are_not_held_in_memory(monkeypatch):
  monkeypatch.setattr(comparison, "own", lambda _: None)
  monkeypatch.setattr(own_codec, "file_codecs", lambda *_: [raw("ours"), raw("alone")])
  what, source = comparison.Comparison("", codecs="none"), Pictures()
  rows = comparison.run(what, sources.pairs(source))
  expected = [(codec, str(index)) for codec in ("alone", "ours") for index in range(20)]
  assert [(row.codec, row.image) for row in rows] == expected
  assert source.most_alive <= 2


def test_a_codec_of_one_rate_has_no_efforts():
  assert [codec.name for codec in own_codec.file_codecs(context_codec(), [1])][1].endswith("1")
  with pytest.raises(UsageError, match=r"'tiny-paper' has one rate only .* leave effort 1 out"):
    own_codec.file_codecs(paper_codec(), [1])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_metric_asked_for_later_leaves_one_record_of_each_file(jobs, monkeypatch):
  monkeypatch.setattr(own_codec, "file_codecs", lambda *_: [raw("ours")])
  monkeypatch.setattr(comparison, "own", lambda _: None)
  monkeypatch.setattr(processes, "unordered", lambda do, tasks, _: _Closable(map(do, tasks)))
  images = [("a", np.zeros((16, 16, 3), np.uint8)), ("b", np.ones((16, 16, 3), np.uint8))]
  before = comparison.run(comparison.Comparison("", codecs="none"), images)
  more = comparison.Comparison("", codecs="none", metrics="ssimulacra2")
  rows = comparison.run(more, images, done=before, jobs=jobs)
  assert [row.image for row in rows] == ["a", "b"]
  assert all(row.ssimulacra2 is not None for row in rows)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_metric_asked_for_later_leaves_what_is_not_measured_now(jobs, monkeypatch):
  monkeypatch.setattr(own_codec, "file_codecs", lambda *_: [raw("ours")])
  monkeypatch.setattr(comparison, "own", lambda _: None)
  monkeypatch.setattr(processes, "unordered", lambda do, tasks, _: _Closable(map(do, tasks)))
  images = [("a", np.zeros((16, 16, 3), np.uint8))]
  [ours] = comparison.run(comparison.Comparison("", codecs="none"), images)
  goal = {"matched_to": "ours", "matched_setting": "only", "target_bytes": 768}
  others = [
    dataclasses.replace(ours, codec="webp"),
    dataclasses.replace(ours, codec="webp", **goal),
    dataclasses.replace(ours, codec="ours-effort1"),
    dataclasses.replace(ours, version="of other weights"),
  ]
  before = [dataclasses.replace(ours, dists=0.5), *others]
  more = comparison.Comparison("", codecs="none", match=False, metrics="ssimulacra2")
  *kept, last = comparison.run(more, images, done=before, jobs=jobs)
  assert kept == others
  assert (last.version, last.dists) == (ours.version, 0.5)
  assert last.ssimulacra2 is not None


class _Closable:
  """Results as `processes.unordered` gives them, of this process."""

  def __init__(self, results):
    self._results = results

  def __iter__(self):
    return self._results

  def close(self):
    pass


def test_records_of_other_samples_are_refused(monkeypatch):
  monkeypatch.setattr(own_codec, "file_codecs", lambda *_: [raw("ours")])
  monkeypatch.setattr(comparison, "own", lambda _: None)
  what = comparison.Comparison("", codecs="none")
  before = comparison.run(what, [("a", np.zeros((16, 16, 3), np.uint8))])
  with pytest.raises(UsageError, match=r"^a: the earlier records are of other samples"):
    comparison.run(what, [("a", np.ones((16, 16, 3), np.uint8))], done=before)
