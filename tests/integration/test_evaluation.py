"""The evaluation of weights, as its command does it, in this process but for --jobs."""

import dataclasses
import gzip
import json
import shutil

import numpy as np
import pytest

from cae_jax import locks
from cae_jax.evaluation import set_metrics
from cae_jax.evaluation.records import (
  Record,
  of_last_versions,
  read_records,
  to_json,
  write_records,
)
from cae_jax.images.files import read_rgb, write_image
from cae_jax.weights import load_weights, save_weights, shipped
from experiments import cli, evaluate
from tests.golden import FOLDER as GOLDEN


def run(output, source_dir, *flags) -> int:
  """Exit status of the command on a folder of pictures."""
  own = ["--dataset=photos", f"--source_dir={source_dir}", f"--output={output}"]
  return cli.run(evaluate.main, evaluate.define_flags, [*own, *flags])


@pytest.fixture(scope="module")
def full(finished_run):
  return [f"--workdir={finished_run}", "--codecs=jpeg,bpg", "--bpg_dir=/nowhere"]


@pytest.fixture(scope="module")
def output(full, tiny_training, tmp_path_factory):
  folder = tmp_path_factory.mktemp("evaluation")
  assert run(folder, tiny_training.source_dir, *full) == 0
  return folder


def test_it_leaves_what_it_promises(output):
  for name in ("records.jsonl", "summary.json", "table.md"):
    assert (output / name).stat().st_size
  assert (output / "table.md").read_text().startswith("|")  # the paper's tables are of Kodak
  names = {"reconstructions", "psnr_per_image", "rate_distortion", "methods"}
  assert {path.stem for path in (output / "figures").glob("*.png")} == names


def test_every_row_is_a_real_file_or_says_why_not(output):
  records = read_records(output / "records.jsonl")
  assert {r.codec for r in records} == {"paper", "paper-float", "jpeg", "bpg"}
  for record in records:
    if record.codec == "bpg":
      assert "not run" in record.status
    elif record.ok:
      assert record.rate_bpp == 8 * record.size_bytes / (record.width * record.height)
  matched = [r for r in records if r.matched_to == "paper" and r.codec == "jpeg"]
  assert len(matched) == 1
  assert "not run" in (output / "table.md").read_text()


def test_coded_psnr_is_near_that_of_float_latents(output):
  summary = json.loads((output / "summary.json").read_text())
  coded, uncoded = (summary[name][0]["mean_psnr_db"] for name in ("paper", "paper-float"))
  assert coded == pytest.approx(uncoded, abs=0.3)


def test_bd_rates_are_there_or_say_what_they_need(output):
  assert json.loads((output / "summary.json").read_text())["bd_rates"] == []
  assert "they need 4 rate points or more of a codec of ours" in (output / "table.md").read_text()


def test_the_same_command_goes_on(full, tiny_training, output):
  before = (output / "records.jsonl").read_text()
  lines = before.splitlines(keepends=True)
  (output / "records.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
  assert run(output, tiny_training.source_dir, *full) == 0
  key = lambda r: (r.codec, r.setting, r.image, r.size_bytes, r.matched_to)
  after = {key(r) for r in read_records(output / "records.jsonl")}
  assert len(after) == len(lines)


def test_several_processes_measure_the_same(full, tiny_training, output, tmp_path):
  assert run(tmp_path, tiny_training.source_dir, *full, "--jobs=2") == 0

  def without_times(folder):
    records = read_records(folder / "records.jsonl")
    return {dataclasses.replace(r, encode_s=None, decode_s=None) for r in records}

  assert without_times(tmp_path) == without_times(output)
  assert all(r.encode_s is None for r in read_records(tmp_path / "records.jsonl"))


# From here on: what is measured, without tables and figures of it.


@pytest.fixture
def alone(monkeypatch):
  monkeypatch.setattr(evaluate, "_write", lambda *_: None)
  return ["--codecs=none", "--nomatch"]


@pytest.fixture
def ours(alone, finished_run):
  return [f"--workdir={finished_run}", *alone]


def measured(output):
  return {record.image for record in read_records(output / "records.jsonl")}


def test_all_of_a_folder_without_a_test_split(ours, tmp_path, tiny_training, capsys):
  own = tmp_path / "own"
  own.mkdir()
  for name in ("beach.png", "holiday.png"):
    shutil.copy(tiny_training.source_dir / "test.png", own / name)
  assert run(tmp_path / "out", own, *ours) == 0
  assert measured(tmp_path / "out") == {"beach.png", "holiday.png"}
  said = capsys.readouterr().out
  assert said.startswith("photos has no split 'test': all of its 2 images are taken\n")
  (own / "holiday.png").rename(own / "test_holiday.png")
  assert run(tmp_path / "test", own, *ours) == 0
  assert measured(tmp_path / "test") == {"test_holiday.png"}
  said = capsys.readouterr().out
  assert said.startswith("photos: the 1 images of split 'test'; --split=all takes all\n")
  (own / "test_holiday.png").unlink()
  assert run(tmp_path / "out", own, *ours) == 2
  assert "has records of 1 images that are not measured now (holiday.png" in capsys.readouterr().err
  assert run(tmp_path / "out", own, *ours, "--split=test") == 2
  assert "no images in split 'test'; the splits are train" in capsys.readouterr().err


def test_images_trained_on_are_left_out_whatever_their_names(ours, tiny_training, tmp_path, capsys):
  own = tmp_path / "own"
  own.mkdir()
  seen = read_rgb(tiny_training.source_dir / "a.png")
  write_image(own / "renamed.bmp", seen)
  write_image(own / "a.png", seen[::-1])  # another picture of a known name
  assert run(tmp_path / "out", own, *ours) == 0
  assert "\n1 of 2 images left out: trained on\n" in capsys.readouterr().out
  assert measured(tmp_path / "out") == {"a.png"}


def test_weights_that_have_seen_everything(ours, tiny_training, tmp_path, capsys):
  assert run(tmp_path, tiny_training.source_dir, *ours, "--split=train") == 2
  assert capsys.readouterr().err == "error: the weights were trained on all 3 images\n"
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [[], ["--lossless", "--codecs=png", "--noours"]], ids=str)
def test_one_evaluation_at_a_time_works_in_a_folder(kind, ours, tiny_training, tmp_path, capsys):
  with locks.locked(tmp_path, "evaluation", "--output", print):
    assert run(tmp_path, tiny_training.source_dir, *(kind or ours)) == 2
  assert "another evaluation is at work here" in capsys.readouterr().err
  assert not list(tmp_path.glob("*.jsonl"))


@pytest.fixture
def shipped_paper(finished_run, tmp_path, monkeypatch):
  """Stands for the weights that are shipped; returns a function that changes their card."""
  weights = load_weights(finished_run / "weights.safetensors")
  folder = tmp_path / "shipped"
  folder.mkdir()
  monkeypatch.setattr(shipped, "FOLDER", folder)

  def ship(card):
    changed = dataclasses.replace(weights, name=shipped.DEFAULT, card=card)
    save_weights(folder / "any.safetensors", changed)

  return ship


def test_without_a_choice_the_shipped_weights_are_measured(
  shipped_paper, alone, tiny_training, tmp_path, capsys
):
  shipped_paper({"trained_on": ["test.png", "valid.png"]})  # a card with names alone
  assert run(tmp_path / "out", tiny_training.source_dir, *alone, "--split=test+train") == 0
  assert {r.codec for r in read_records(tmp_path / "out" / "records.jsonl")} >= {shipped.DEFAULT}
  assert measured(tmp_path / "out") == {"a.png", "b.png", "c.png"}
  assert "1 of 4 images left out: trained on (by their names: " in capsys.readouterr().out


def test_weights_whose_card_does_not_list_all(
  shipped_paper, alone, tiny_training, tmp_path, capsys
):
  shipped_paper({"trained_on": {"unlisted": 70_000}})
  assert run(tmp_path / "out", tiny_training.source_dir, *alone) == 0
  assert "trained on 70000 images that their card does not list" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--efforts=1"], "the model 'paper' has one rate only and cannot refine latents; leave eff"),
    (["--qualities=50"], "the model 'paper' has one rate only; leave qualities out"),
    (["--efforts=1,10"], "flag --efforts=1,10: 10 is not an integer in the range [1, 1]"),
    (["--weights=context"], "--workdir and --weights: expected one of them, got both"),
    (["--workdir={tmp_path}"], "weights.safetensors is not there; finish the run"),
    (["--codecs=gif"], "unknown codec 'gif'"),
    (["--bpp_range=1,0.1"], "--bpp_range=1.0,0.1: expected the smaller rate first"),
    (["--bpp_range=1"], "flag --bpp_range=1: expected LOW,HIGH, got 1 values"),
    (["--source_dir=/nowhere"], "/nowhere: no such folder or tar file of images"),
  ],
)
def test_what_cannot_be_measured(ours, tiny_training, tmp_path, capsys, flags, message):
  flags = [flag.format(tmp_path=tmp_path) for flag in flags]
  assert run(tmp_path / "out", tiny_training.source_dir, *ours, *flags) == 2
  err = capsys.readouterr().err
  assert message in err
  assert err.startswith("error: ")
  assert err.count("\n") == 1


@pytest.mark.parametrize(
  ("weights", "flags", "message"),
  [
    (
      GOLDEN / "lossless.safetensors",
      ["--nomatch"],
      "are of a lossless model, expected those of a lossy one",
    ),
    (GOLDEN / "context.safetensors", ["--lossless"], "are of a lossy model, expected those of a l"),
    (
      "jpeg.safetensors",
      ["--nomatch"],
      "the weights are named 'jpeg', as one of the classical codecs is",
    ),
  ],
)
def test_weights_that_cannot_be_measured(weights, flags, message, tiny_training, tmp_path, capsys):
  named = dataclasses.replace(load_weights(GOLDEN / "context.safetensors"), name="jpeg")
  save_weights(tmp_path / "jpeg.safetensors", named)
  flags = ["--codecs=none", *flags, f"--weights={tmp_path / weights}"]
  assert run(tmp_path / "out", tiny_training.source_dir, *flags) == 2
  assert message in capsys.readouterr().err
  assert not list((tmp_path / "out").glob("*.jsonl"))


def test_records_of_another_run_join_these(
  ours, output, tiny_training, tmp_path, capsys, monkeypatch
):
  """Compressed, and with records of an image that is not measured: KID was of all images."""
  written: list[Record] = []
  monkeypatch.setattr(evaluate, "_write", lambda *args: written.extend(args[-1]))
  rows = read_records(output / "records.jsonl")
  others = [dataclasses.replace(row, kid=0.5) for row in rows]
  others.append(dataclasses.replace(rows[0], image="other.png"))
  with gzip.open(tmp_path / "others.jsonl.gz", "wt", encoding="utf-8") as file:
    file.writelines(to_json(record) + "\n" for record in others)
  more = [*ours, f"--records={tmp_path}/others.jsonl.gz"]
  assert run(tmp_path / "out", tiny_training.source_dir, *more) == 0
  joined = [record for record in rows if record.image is not None]
  assert {*written} == {*joined}
  said = f"{len(joined)} of the {len(joined) + 1} records of other runs join these"
  assert said in capsys.readouterr().out


@pytest.mark.parametrize("joined", [False, True])
def test_a_version_that_is_used_again_counts_again(
  joined, ours, output, tiny_training, tmp_path, monkeypatch
):
  """Such as that of a baseline with an option, in this folder or of another run."""
  written: list[Record] = []
  monkeypatch.setattr(evaluate, "_write", lambda *args: written.extend(args[-1]))
  jpeg = [row for row in read_records(output / "records.jsonl") if row.codec == "jpeg"]
  others = [dataclasses.replace(row, version="other") for row in jpeg]
  write_records(tmp_path / "records.jsonl", others if joined else [*jpeg, *others])
  more = [*ours, "--codecs=jpeg", *([f"--records={output}/records.jsonl"] if joined else [])]
  assert run(tmp_path, tiny_training.source_dir, *more) == 0
  shown = {row for row in of_last_versions(written) if row.codec == "jpeg"}
  assert shown == {*jpeg}


def test_distances_of_sets_are_of_what_is_shown(ours, output, tiny_training, tmp_path, monkeypatch):
  """Not of baselines at the sizes of files of older weights."""
  written: list[Record] = []
  monkeypatch.setattr(evaluate, "_write", lambda *args: written.extend(args[-1]))
  filled = lambda rows, _: [dataclasses.replace(row, kid=0.5) for row in rows]
  monkeypatch.setattr(set_metrics, "with_kid", filled)
  rows = [row for row in read_records(output / "records.jsonl") if row.image is not None]
  older = [
    dataclasses.replace(row, size_bytes=9, version="older")
    if row.codec == "paper"
    else dataclasses.replace(row, target_bytes=9)
    for row in rows
    if "paper" in (row.codec, row.matched_to)
  ]
  write_records(tmp_path / "records.jsonl", [*older, *rows])
  assert run(tmp_path, tiny_training.source_dir, *ours) == 0
  assert {row for row in written if row.kid is None} == {*older}
  assert {dataclasses.replace(row, kid=None) for row in written if row.kid} == {*rows}


def test_records_of_other_samples_do_not_join(ours, output, tiny_training, tmp_path, capsys):
  rows = read_records(output / "records.jsonl")
  write_records(tmp_path / "others.jsonl", [dataclasses.replace(r, digest="0" * 8) for r in rows])
  more = [*ours, f"--records={tmp_path}/others.jsonl"]
  assert run(tmp_path / "out", tiny_training.source_dir, *more) == 2
  assert "the earlier records are of other samples" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "bound", "message"),
  [
    ([], 0, "is of lossless codecs; join it to a run with --lossless"),
    (["--lossless"], None, "is of lossy codecs; join it to a run without --lossless"),
    ([], None, "found no file"),
  ],
)
def test_records_that_cannot_join(flags, bound, message, ours, tiny_training, tmp_path, capsys):
  path = tmp_path / "others.jsonl"
  if "no file" not in message:
    write_records(path, [Record("jpeg", 5, "test.png", mse=1.0, error_bound=bound)])
  output = tmp_path / "out"
  flags = [*(flags or ours), f"--records={path}"]
  assert run(output, tiny_training.source_dir, *flags) == 2
  assert message in capsys.readouterr().err
  assert not list(output.glob("*.jsonl"))


def lossless(*flags) -> int:
  """Exit status of the comparison of lossless codecs, without ours."""
  return cli.run(evaluate.main, evaluate.define_flags, ["--lossless", "--noours", *flags])


def test_lossless_codecs_join_the_records_of_another_run(tmp_path):
  grey = np.arange(600, dtype=np.uint16).reshape(20, 30) * 97
  for folder in ("deep", "photos"):
    (tmp_path / folder).mkdir()
  write_image(tmp_path / "deep" / "a.png", grey)
  write_image(tmp_path / "photos" / "b.png", (grey % 256).astype(np.uint8))
  sets = f"--sets=deep={tmp_path}/deep,photos={tmp_path}/photos"
  one, two = tmp_path / "one", tmp_path / "two"
  assert lossless(sets, "--codecs=jxl_e7,webp_lossless", f"--output={one}") == 0
  more = [sets, "--codecs=png", f"--records={one}/records.jsonl", "--reference=jxl_e7"]
  assert lossless(*more, "--near_lossless=1", f"--output={two}") == 0
  rows = read_records(two / "records.jsonl")
  assert {(r.dataset, r.codec) for r in rows if r.ok} == {
    ("deep", "jxl_e7"),
    ("deep", "png"),
    ("photos", "jxl_e7"),
    ("photos", "webp_lossless"),
    ("photos", "png"),
  }
  assert [r for r in rows if r.codec == "jxl_e7"] == [
    r for r in read_records(one / "records.jsonl") if r.codec == "jxl_e7"
  ]
  summary = json.loads((two / "summary.json").read_text())
  assert (summary["reference"], list(summary["datasets"])) == ("jxl_e7", ["deep", "photos"])
  assert "### photos, lossless" in (two / "table.md").read_text()
  names = {path.stem for path in (two / "figures").glob("*.png")}
  assert names == {"bits_per_sub_pixel", "image_by_image"}


def test_lossless_codecs_are_compared_on_the_images_of_this_run(tmp_path, capsys):
  image = np.arange(600, dtype=np.uint8).reshape(20, 30)
  for path in ("both/a.png", "both/b.png", "one/a.png"):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    write_image(tmp_path / path, image)
  both, one = tmp_path / "of_both", tmp_path / "of_one"
  assert lossless(f"--sets=x={tmp_path}/both", "--codecs=jxl_e7", f"--output={both}") == 0
  alone = [f"--sets=x={tmp_path}/one", "--codecs=png"]
  joined = f"--records={both}/records.jsonl"
  assert lossless(*alone, joined, f"--output={one}") == 0
  assert measured(one) == {"a.png"}
  assert "1 of the 2 records of other runs join these" in capsys.readouterr().out
  assert lossless(*alone, f"--output={both}") == 2
  assert "has records of 1 images that are not measured now (b.png" in capsys.readouterr().err


def test_records_of_other_images_are_refused(tmp_path, capsys):
  (tmp_path / "a").mkdir()
  image = np.arange(600, dtype=np.uint8).reshape(20, 30)
  write_image(tmp_path / "a" / "a.png", image)
  flags = [f"--sets=a={tmp_path}/a", "--codecs=png", f"--output={tmp_path}/out"]
  assert lossless(*flags) == 0
  write_image(tmp_path / "a" / "a.png", image[::-1])
  assert lossless(*flags) == 2
  assert "a, a.png: the earlier records are of other samples" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--sets=kodak", "--sets: expected name=folder with commas"),
    ("--reference=jpeg", "--reference: expected one of png, png_oxipng"),
    ("--codecs=flif", "unknown codec 'flif'"),
    ("--near_lossless=0", "near_lossless"),
  ],
)
def test_bad_flags_of_the_lossless_comparison(flag, words, tmp_path, capsys):
  assert lossless(flag, f"--output={tmp_path}") == 2
  assert words in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--near_lossless=1"], "--near_lossless: not used without --lossless"),
    (["--noours", "--sets=a=b"], "--sets and --ours: not used without --lossless"),
    (["--lossless", "--jobs=2"], "--jobs: not used with --lossless"),
    (["--lossless", "--nomatch", "--avif_speed=2"], "--match and --avif_speed: not used with"),
    (["--lossless", "--split=test"], "--split: not used with --lossless and --source_dir"),
    (["--lossless", "--sets=a=b"], "--dataset and --source_dir: not used with --sets"),
    (["--lossless", "--noours", "--weights=eye3"], "--weights: not used with --noours"),
  ],
  ids=str,
)
def test_flags_that_go_unused_are_refused(flags, words, tmp_path, capsys):
  assert run(tmp_path / "out", tmp_path, *flags) == 2
  assert f"error: {words}" in capsys.readouterr().err
