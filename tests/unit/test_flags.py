"""The programs' flags: each run has its own, and what is wrong with one is said in one line."""

import dataclasses
import hashlib
import importlib
import itertools
import logging
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags as absl_flags
from absl import logging as absl_logging

import experiments
from cae_jax.data.views import image_digests
from cae_jax.errors import Error, UsageError
from cae_jax.models import MODELS, model_class, settings
from experiments import (
  cli,
  compare_runs,
  evaluate,
  flag_uses,
  timing,
  train,
  train_flags,
  train_parts,
  visit,
)
from experiments.program_flags import Args, Flags, defined, parse

FLAGFILES = sorted((Path(experiments.__file__).parent / "flags").glob("*.flags"))
PROGRAMS = [module.name for module in pkgutil.iter_modules(experiments.__path__)]


@pytest.fixture
def anew(monkeypatch):
  """Imports a module of `experiments` as if nothing of them had been imported before."""

  def forget():
    for name in [name for name in sys.modules if name.startswith("experiments.")]:
      monkeypatch.delitem(sys.modules, name)

  yield forget
  monkeypatch.undo()


def test_all_programs_live_in_one_process_whatever_comes_first(anew):
  for first, second in itertools.permutations(PROGRAMS, 2):
    anew()
    importlib.import_module(f"experiments.{first}")
    importlib.import_module(f"experiments.{second}")
  # Grain has flags of its own there.
  assert not [m for m in absl_flags.FLAGS.flags_by_module_dict() if m.startswith("experiments")]


def test_runs_know_nothing_of_each_other():
  first = parse(evaluate.define_flags, ["--output=a", "--dataset=photos", "--efforts=1"])
  second = parse(timing.define_flags, ["--output=b"])
  third = parse(evaluate.define_flags, ["--output=c"])
  assert [args.dataset for args in (first, second, third)] == ["photos", "kodak", "kodak"]
  assert (first.efforts, third.efforts) == ([1], [])


def define(flags: Flags) -> None:
  flags.string("word", "some", "A word.")
  flags.path("place", None, "A path.")
  flags.paths("places", [], "Paths.")
  flags.boolean("yes", False, "Or no.")
  flags.integer("number", 3, "A number.", 1, 9)
  flags.integers("numbers", None, "Numbers.", 1)
  flags.integers("size", [], "A size.", 1, form="HEIGHT,WIDTH")
  flags.number("ratio", 0.5, "A ratio.", 0)
  flags.numbers("ratios", [], "Ratios.", 0, 1)
  flags.choice("kind", "a", {"a": 1, "b": 2}, "A kind.")


@pytest.mark.parametrize(
  ("argument", "expected"),
  [
    ("--word=a,b", "a,b"),
    ("--place=~/a", Path("/home/me/a")),
    ("--places=~/a,b", [Path("/home/me/a"), Path("b")]),
    ("--places=", []),
    ("--yes", True),
    ("--noyes", False),
    ("--number=9", 9),
    ("--numbers=4,6", [4, 6]),
    ("--numbers=", []),
    ("--size=512,768", [512, 768]),
    ("--size=", []),
    ("--ratio=2", 2.0),
    ("--ratios=0.5,1", [0.5, 1.0]),
    ("--kind=b", "b"),
  ],
)
def test_values_and_their_lines_in_a_flagfile(argument, expected, monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  args = parse(define, [argument])
  [name] = [name for name in args if args[name].present]
  assert getattr(args, name) == expected
  again = parse(define, [args[name].serialize()])
  assert getattr(again, name) == expected


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--number=x", r"--number=x: "),
    ("--number=10", r"--number=10: 10 is not an integer in the range \[1, 9\]"),
    ("--numbers=a,b", r"--numbers=a,b: invalid literal"),
    ("--numbers=4,0", r"--numbers=4,0: 0 is not a positive integer"),
    ("--numbers=4,", r"--numbers=4,: invalid literal"),
    ("--size=10", r"--size=10: expected HEIGHT,WIDTH, got 1 values"),
    ("--size=1,2,3", r"--size=1,2,3: expected HEIGHT,WIDTH, got 3 values"),
    ("--ratio=-1", r"--ratio=-1: .*non-negative"),
    ("--kind=c", r"--kind=c: value should be one of <a\|b>"),
    ("--place=gs://bucket/a", r"--place=gs://bucket/a: .*expected a path, not a URL"),
    ("--place=", r"--place=: expected a path, got an empty one"),
    ("--places=a,s3://b", r"--places=a,s3://b: .*expected a path, not a URL"),
    ("--wort=a", r"Unknown command line flag 'wort'. Did you mean: word"),
    ("word", r"unexpected argument 'word'; flags have the form --name=value"),
    ("--flagfile=absent.flags", r"absent\.flags"),
    (f"--flagfile={sys.executable}", r"--flagfile: expected a text file"),
  ],
)
def test_the_flag_is_named_that_is_wrong(argument, message):
  with pytest.raises(UsageError, match=message):
    parse(define, [argument])


def test_required_flags():
  with pytest.raises(UsageError, match="--output must have a value other than None"):
    parse(evaluate.define_flags, [])


def program(args: Args) -> None:
  """Prints, or fails as it is told."""
  if args.word == "error":
    raise Error("what was wrong\nand more of it")
  if args.word == "bug":
    raise AssertionError("a bug")
  if args.word == "interrupt":
    raise KeyboardInterrupt
  logging.getLogger("any").info("not told")
  absl_logging.info("nor this")
  if args.word == "warning":
    logging.getLogger("any").warning("from %s", "Python")
    absl_logging.warning("from absl")
  if args.word == "failed":
    try:
      raise OSError("no space")
    except OSError:
      logging.getLogger("any").exception("in background")
  print(args.word)


@pytest.mark.parametrize(
  ("arguments", "status", "out", "err"),
  [
    (["--word=hello"], 0, "hello\n", ""),
    (["--word=error"], 2, "", "error: what was wrong and more of it\n"),
    (["--word=interrupt"], 130, "", "error: interrupted\n"),
    (["--word=warning"], 0, "warning\n", "warning: from Python\nwarning: from absl\n"),
    (["--word=failed"], 0, "failed\n", "error: in background\n"),
    (["--debug"], 0, "some\n", "info: not told\ninfo: nor this\n"),
    (["--number=0"], 2, "", "error: flag --number=0: 0 is not an integer in the range [1, 9]\n"),
  ],
)
def test_run(arguments, status, out, err, capsys):
  root, other = logging.getLogger(), logging.StreamHandler()  # as a library leaves one
  root.addHandler(other)
  before = {*root.handlers}, root.level
  try:
    assert cli.run(program, define, arguments) == status
    assert capsys.readouterr() == (out, err)
    assert before == ({*root.handlers}, root.level)
  finally:
    root.removeHandler(other)


def test_bugs_and_debugged_errors_show_their_traceback(capsys):
  with pytest.raises(AssertionError, match="a bug"):
    cli.run(program, define, ["--word=bug"])
  assert cli.run(program, define, ["--word=error", "--debug"]) == 2
  assert "Traceback" in capsys.readouterr().err
  assert cli.run(program, define, ["--word=failed", "--debug"]) == 0
  assert "OSError: no space" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "-h"])
def test_help_tells_what_the_program_does_and_all_its_flags(flag, capsys):
  assert cli.run(compare_runs.main, compare_runs.define_flags, ["--no_such_flag", flag]) == 0
  said = capsys.readouterr().out
  assert said.startswith("Draws the validation losses of several runs")
  for line in ("--runs: Workdirs of runs, with commas.", "--flagfile", "--[no]debug"):
    assert line in said


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfiles_and_the_flags_kept_of_a_run(path, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(path.parents[2])  # one of them names another
  is_visit = "experiments.visit" in path.read_text()
  define_flags = visit.define_flags if is_visit else train_flags.define_flags
  own = [f"--workdir={tmp_path}", *(["--output=x"] if is_visit else [])]
  args = parse(define_flags, [f"--flagfile={path}", *own])
  kept = tmp_path / "flags.txt"
  train_flags.keep_flags(args, kept)
  again = parse(define_flags, [f"--flagfile={kept}"])
  assert train_flags.resolved(again) == train_flags.resolved(args)
  train_flags.keep_flags(again, kept)
  assert "not used" not in "".join(capsys.readouterr())


def test_a_run_is_resumed_with_the_flags_that_matter(tmp_path):
  kept = tmp_path / "flags.txt"
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')

  def keep(*arguments):
    train_flags.keep_flags(parse(train_flags.define_flags, arguments), kept)

  own = ["--channels=4,6", "--rescale=8,9", "--name=a", "--seed=3"]
  keep(*own)
  assert {*own} < {*kept.read_text().splitlines()}
  keep(*own, "--steps=7", "--carry_to=/b", "--export_only", "--debug")
  assert not re.search("export_only|debug|carry_to", kept.read_text())
  for changed, message in {
    "--channels=4": "with --channels=4,6, this one has --channels=4; resume it with the same",
    "--channels=32,64,128": "with --channels=4,6, this one has --channels=32,64,128; resume it",
    "--batch_size=3": "with --batch_size=8, this one has --batch_size=3; resume it with the same",
    "--model=hyperprior": "with --model=paper, this one has --model=hyperprior; resume it with",
  }.items():
    with pytest.raises(UsageError, match=message):
      keep(*own, changed)
  with pytest.raises(UsageError, match="with --channels=4,6, this one has --channels=32,64,128"):
    keep(*own[1:])


@pytest.mark.parametrize(
  ("schedule", "step", "said"),
  [
    (
      "linear",
      100,
      "with --steps=200, of 100 before, the learning rate at step 100 is 0.00505 instead",
    ),
    ("trapezoidal", 100, "is 0.01 instead of 0.0001"),
    ("trapezoidal", 60, None),
    ("linear", None, None),  # nothing has been learnt yet
  ],
)
def test_a_longer_run_says_what_becomes_of_the_learning_rate(
  schedule, step, said, tmp_path, capsys
):
  flags = [f"--schedule={schedule}", "--learning_rate=0.01", "--warmup_steps=0"]
  opened = lambda steps: train._open(
    parse(train_flags.define_flags, [*flags, f"--steps={steps}"]), tmp_path
  )
  opened(100)
  if step:
    (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
  opened(100)
  assert not capsys.readouterr().out
  opened(200)
  found = capsys.readouterr().out
  assert said in found if said else not found


def test_runs_with_boolean_flags_are_resumed(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  args = parse(train_flags.define_flags, [])
  for name in [
    name for name in args if args[name].boolean and name not in ("debug", "export_only")
  ]:
    for flag in (f"--{name}", f"--no{name}"):
      kept = tmp_path / f"{flag}.txt"
      args = parse(train_flags.define_flags, ["--model=lossless", flag])
      train_flags.keep_flags(args, kept)
      assert f"{flag}\n" in kept.read_text()
      train_flags.keep_flags(args, kept)
  with pytest.raises(UsageError, match="with --nobiases, this one has --biases; resume it"):
    train_flags.keep_flags(
      parse(train_flags.define_flags, ["--model=lossless", "--biases"]), tmp_path / "--nobiases.txt"
    )


@pytest.mark.parametrize("name", MODELS)
def test_settings_that_are_not_given_are_the_models_own(name):
  args = parse(train_flags.define_flags, [f"--model={name}", "--seed=7", "--steps=9"])
  expected = {"model": name, **settings(model_class(name)())}
  assert train_parts.config(args) == expected
  assert train_parts.config(parse(train_flags.define_flags, [*_kept(args)])) == expected


def _kept(args: Args) -> list[str]:
  return [*train_flags.resolved(args).values()]


def test_a_field_of_a_model_is_not_any_flag_of_its_name(monkeypatch):
  @dataclasses.dataclass
  class Other:
    steps: int = 4

  monkeypatch.setattr(train_flags, "model_class", lambda _: Other)
  args = parse(train_flags.define_flags, ["--steps=20"])
  assert train_flags.model_settings(args) == {"steps": 4}
  assert train_flags.resolved(args)["steps"] == "--steps=20"


def test_settings_that_the_model_has_not_are_told_and_not_kept(tmp_path, capsys):
  flags = ["--model=hyperprior", "--channels=8,8", "--blocks=1,1", "--latent_channels=9"]
  args = parse(train_flags.define_flags, flags)
  train_flags.keep_flags(args, tmp_path / "flags.txt")
  said = "".join(capsys.readouterr())
  assert "--channels=8,8 (--model=hyperprior has no such setting)" in said
  assert "--blocks=1,1 (--model=hyperprior has no such setting)" in said
  lines = (tmp_path / "flags.txt").read_text().splitlines()
  assert {"--latent_channels=9", "--hidden_channels=128", "--lmbda=0.013"} < {*lines}
  assert not [line for line in lines if line.startswith(("--blocks", "--channels", "--bottleneck"))]


def test_runs_of_before_settings_were_the_models_own_go_on(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  kept = tmp_path / "flags.txt"
  kept.write_text("--model=context\n--kernel_size=3\n--bottleneck=0\n--upsampling=subpixel\n")
  train_flags.keep_flags(parse(train_flags.define_flags, ["--model=context", "--name=paper"]), kept)


def test_a_flag_newer_than_the_run_counts_as_its_default(tmp_path):
  kept = tmp_path / "flags.txt"
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  kept.write_text("--name=paper\n")
  train_flags.keep_flags(parse(train_flags.define_flags, []), kept)
  kept.write_text("--name=paper\n")
  with pytest.raises(UsageError, match="holds a run with --rescale=, this one has --rescale=8,9"):
    train_flags.keep_flags(parse(train_flags.define_flags, ["--rescale=8,9"]), kept)


def test_weights_tell_nobody_where_things_lie():
  places = ["--workdir=/home/me/a", "--start_weights=/home/me/b", "--start_look=eye3"]
  published = train_flags.to_publish(parse(train_flags.define_flags, places))
  assert published["start_look"] == "--start_look=eye3"
  assert not [line for line in published.values() if "/home/me" in line]


def test_paths_that_are_not_utf8_are_kept(tmp_path):
  kept = tmp_path / "flags.txt"
  args = parse(train_flags.define_flags, ["--source_dir=caf\udce9"])
  train_flags.keep_flags(args, kept)
  assert b"--source_dir=caf\xe9\n" in kept.read_bytes()
  train_flags.keep_flags(args, kept)


@pytest.mark.parametrize(
  ("flags", "unused"),
  [
    ("--model=paper --distortion=eye --eye_share=0.5", "--distortion=eye (for models with a rate"),
    ("--model=paper --cost_power=0.7", "--cost_power=0.7 (for models with a rate)"),
    ("--model=lossless --min_scale=0.5", "--min_scale=0.5 (for models that make images)"),
    ("--model=lossless --cache_gib=1", "--cache_gib=1.0 (for models that make images)"),
    ("--model=context --grey_share=0.5", "--grey_share=0.5 (for --model=lossless)"),
    ("--model=context --eye_share=0.8", "--eye_share=0.8 (for --distortion=eye)"),
    (
      "--model=factorized --block_transform=random",
      "--block_transform=random (for --model=context",
    ),
    ("--task=look --halved_chroma=0.2", "--halved_chroma=0.2 (for models with a rate)"),
    ("--task=look --start_look=eye3 --distortion=eye --eye_share=0.8 --channels=9,9", None),
    ("--model=context --distortion=mse --adversarial_weight=0.1", None),  # by default, too
  ],
)
def test_flags_that_a_run_has_no_use_for_are_told(flags, unused, tmp_path, capsys):
  args = parse(train_flags.define_flags, flags.split())
  train_flags.keep_flags(args, tmp_path / "flags.txt")
  said = "".join(capsys.readouterr())
  assert ("not used: " + unused in said) if unused else not said


@pytest.mark.parametrize("flag", ["--start_look=eye3", "--texture_weight=6", "--inception=a"])
def test_a_forgotten_task_is_found_before_a_run_begins(flag, tmp_path):
  kept, model = tmp_path / "flags.txt", ["--model=context", "--start_weights=eye3"]
  args = parse(train_flags.define_flags, [*model, flag])
  with pytest.raises(UsageError, match=rf"{flag}(\.0)?: for --task=look; give that, too"):
    train_flags.keep_flags(args, kept)
  # One that was begun so goes on.
  kept.write_text("\n".join([*train_flags.resolved(args).values(), ""]))
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  train_flags.keep_flags(args, kept)


def test_uses_are_of_flags_that_there_are():
  named = {name for use in flag_uses._USES for name in use.flags}
  assert named <= {*parse(train_flags.define_flags, [])}
  assert {*defined(train_flags._define_look)} - {"debug"} == {*flag_uses._OF_LOOKS}


def test_the_same_photographs_in_another_order_are_the_same(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  first, second, third = ({"image": np.full((2, 2, 3), i, np.uint8), "name": ""} for i in range(3))
  args = parse(train_flags.define_flags, [])
  train_parts.keep_photographs(tmp_path, [first, second])
  train_parts.check_photographs(args, tmp_path, [second, first])
  with pytest.raises(UsageError, match="learns from other photographs than --dataset="):
    train_parts.check_photographs(args, tmp_path, [first, third])
  # As of runs of before it was sorted: one of the two orders is not that of the digests.
  for source in ([first, second], [second, first]):
    in_order = hashlib.sha256(b"".join(image_digests(source))).hexdigest()
    (tmp_path / "photographs.sha256").write_text(f"{in_order}\n")
    train_parts.check_photographs(args, tmp_path, source)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (
      ["--distortion=ms_ssim"],
      "--patch_size=128: --distortion=ms_ssim takes patches of 161 pixels",
    ),
    (["--distortion=eye", "--patch_size=64"], "--patch_size=64: --distortion=eye takes .* of 128"),
    (
      ["--distortion=eye", "--valid_patch_size=64"],
      "--valid_patch_size=64: --distortion=eye takes",
    ),
  ],
)
def test_no_distortion_is_trained_on_patches_that_it_cannot_measure(flags, message):
  args = parse(train_flags.define_flags, flags)
  with pytest.raises(UsageError, match=message):
    train_parts.distortion(args)


def test_patches_that_distortions_can_measure():
  fine = ["--distortion=ms_ssim", "--patch_size=192"], ["--distortion=eye"], ["--patch_size=16"]
  for flags in (*fine, ["--distortion=eye", "--eye_share=0", "--patch_size=64"]):
    train_parts.distortion(parse(train_flags.define_flags, flags))
