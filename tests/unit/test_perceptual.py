"""Metrics that are asked for by name: programs that are there, that are not, and that fail."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.evaluation import evaluate, measuring, perceptual
from cae_jax.evaluation.codecs.base import CodecError, FileCodec, Missing
from cae_jax.evaluation.perceptual import PerceptualMetric
from tests import picture_pairs

_ANSWER = "2.5000000000\\n3-norm: 1.250000\\n"


def _program(folder, name, script):
  (folder / name).write_text(f"#!/bin/sh\n{script}\n")
  (folder / name).chmod(0o755)


def _picture(shape=(8, 9, 3), dtype=np.uint8):
  return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def test_butteraugli_reads_both_norms_of_the_program(tmp_path):
  _program(tmp_path, "butteraugli_main", f'test -s "$1" && test -s "$2" && printf "{_ANSWER}"')
  metric = perceptual.butteraugli(tmp_path)
  assert perceptual.measure([metric], _picture(), _picture()) == {
    "butteraugli_3norm": 1.25,
    "butteraugli_max": 2.5,
  }


@pytest.mark.parametrize(
  ("script", "message"),
  [
    ("echo no room >&2; exit 3", "ended with status 3: no room"),
    ("echo 1.5", "does not answer as butteraugli_main does: '1.5"),
  ],
)
def test_a_program_that_fails_is_a_failure_of_the_codec(tmp_path, script, message):
  _program(tmp_path, "butteraugli_main", script)
  with pytest.raises(CodecError, match=message):
    perceptual.measure([perceptual.butteraugli(tmp_path)], _picture(), _picture())


def test_a_program_that_is_not_there_says_how_to_get_it(tmp_path):
  metric = perceptual.butteraugli(tmp_path)
  assert isinstance(metric, Missing)
  assert "not run: no program butteraugli_main in" in metric.status
  assert "libjxl-devtools" in metric.status


def test_names():
  assert perceptual.by_names("none") == []
  assert [metric.name for metric in perceptual.by_names("all")] == list(perceptual.NAMES)
  assert [metric.name for metric in perceptual.by_names("ssimulacra2")] == ["ssimulacra2"]
  with pytest.raises(UsageError, match="unknown metric 'vmaf'; expected 'all', 'none' or some of"):
    perceptual.by_names("ssimulacra2,vmaf")


@pytest.mark.parametrize("x", [_picture((8, 9)), _picture((7, 9, 3)), _picture(dtype=np.uint16)])
def test_other_pictures_have_no_such_figures(x):
  assert perceptual.measure([perceptual.ssimulacra2()], x, x) == {}


_COUNTED = PerceptualMetric("ssimulacra2", ("ssimulacra2",), lambda x, x_hat: (42.0,))
_RAW = FileCodec("raw", "1", (0,), (0,), lambda x, _: x.tobytes(), lambda data: _restored(data))


def _restored(data):
  return np.frombuffer(data, np.uint8).reshape(8, 9, 3)


def test_records_have_what_was_asked_for():
  assert measuring.evaluate_image(_RAW, 0, "a", _picture()).ssimulacra2 is None
  record = measuring.evaluate_image(_RAW, 0, "a", _picture(), [_COUNTED])
  assert (record.ssimulacra2, record.butteraugli_3norm) == (42.0, None)


def test_records_that_lack_a_metric_are_measured_again():
  images, new = [("a", _picture())], []
  first = evaluate.run([_RAW], images, progress=False)
  again = evaluate.run(
    [_RAW], images, done=first, on_record=new.append, progress=False, more=[_COUNTED]
  )
  assert again == new
  assert again[0].ssimulacra2 == 42.0
  last = evaluate.run([_RAW], images, done=again, progress=False, more=[_COUNTED])
  assert last == again
  assert dataclasses.replace(again[0], ssimulacra2=None).size_bytes == first[0].size_bytes


@pytest.mark.skipif(
  not shutil.which("butteraugli_main") or not shutil.which("ssimulacra2"),
  reason="libjxl's programs are not installed",
)
def test_programs_of_this_machine_say_what_was_recorded():
  recorded = json.loads(picture_pairs.RECORDED.read_text(encoding="utf-8"))["values"]
  pairs = {name: pair for name, *pair in picture_pairs.pairs()}
  for name in ("coffee, coarse blocks", "tiny, tint"):
    score = picture_pairs.reference_ssimulacra2(*pairs[name])
    found = [score, *perceptual.butteraugli().measure(*pairs[name])]
    assert found == pytest.approx(recorded[name], abs=0.05)
