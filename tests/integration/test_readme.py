"""The commands and the Python of the pages work: all commands are read, the README's are run.

They run in this process, on small pictures of our own, with tiny weights in the place of those that
ship, and with flags behind them that make them short.
"""

import ast
import dataclasses
import importlib
import itertools
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import cae_jax
import experiments
from cae_jax import cli as cae
from cae_jax import compile_cache
from cae_jax.cli.options import spelled
from cae_jax.cli.parser import make_parser
from cae_jax.data.shards import SUFFIX, write_shard
from cae_jax.evaluation import timing
from cae_jax.images.files import write_image
from cae_jax.weights import save_weights, shipped
from experiments import cli
from experiments.program_flags import parse
from tests.lossless import tiny_weights
from tests.models import context_weights, photo

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(experiments.__file__).parent
# Blocks of commands: indented, in fences for a shell, or in the comments of a flagfile.
_BLOCK = re.compile(
  r"^```(?:sh|bash|shell|console)?\n(.*?)^```$|^((?:#? {2,}\S.*\n?)+)", re.M | re.S
)
_OURS = re.compile(r"^(?:\$ )?(cae|python -m experiments\.\w+)\s(.*)$")
# What stands for something of the reader's: DIR, HOST:PORT, [--optional], …
_PLACEHOLDER = re.compile(r"[A-Z_]{2,}(:[A-Z]+)?|.*[\[\]…].*")


@dataclasses.dataclass(frozen=True)
class Command:
  """A line such as `python -m experiments.evaluate --output=DIR`."""

  program: str
  arguments: tuple[str, ...]

  def __str__(self) -> str:
    return shlex.join([self.program.rpartition(".")[2], *self.arguments])


def commands(text: str) -> list[Command]:
  """Finds our commands in a page's blocks."""
  blocks = [fenced or indented for fenced, indented in _BLOCK.findall(text)]
  lines = [
    line.lstrip("# ").strip()
    for block in blocks
    for chain in re.sub(r"\\\n#?\s*", "", block).splitlines()
    for line in chain.split("&&")
  ]
  matches = filter(None, map(_OURS.match, lines))
  return [Command(match[1].split()[-1], tuple(shlex.split(match[2] or ""))) for match in matches]


def test_commands_are_found():
  text = (
    "Words\n\n    pip install x && cae info a.cae\n\n"
    "```sh\n$ python -m experiments.train --a=b \\\n  --c='d e'\n```\n"
    "```python\ncae.load()\n```\n"
    "#   python -m experiments.report --f=g \\\n#     --h\n"
    "\n    pip install x && python -m experiments.quickstart\n"
  )
  found = commands(text)
  assert [command.program for command in found] == [
    "cae",
    "experiments.train",
    "experiments.report",
  ]
  assert [command.arguments for command in found] == [
    ("info", "a.cae"),
    ("--a=b", "--c=d e"),
    ("--f=g", "--h"),
  ]


def _pages() -> dict[str, str]:
  """README, the pages in docs/, flagfiles, and what the programs say of themselves."""
  pages = {}
  folders = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")]
  for path in [*folders, *PROGRAMS.glob("flags/*.flags")]:
    name = (
      path.name
      if path.name == "README.md" and path.parent == ROOT
      else path.relative_to(ROOT).as_posix()
    )
    pages[name] = path.read_text(encoding="utf-8")
  for path in PROGRAMS.glob("*.py"):
    pages[path.name] = importlib.import_module(f"experiments.{path.stem}").__doc__ or ""
  return pages


# Flags that some program cannot do without.
REQUIRED = (
  "--crops",
  "--output",
  "--output_dir",
  "--records",
  "--runs",
  "--source_dir",
  "--weights",
)
PAGES = _pages()
README = commands(PAGES["README.md"])


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if commands(text)])
def test_every_command_can_be_read(page, monkeypatch):
  monkeypatch.chdir(ROOT)
  for command in commands(PAGES[page]):
    _read(command)


def _read(command: Command) -> None:
  """Reads a command as its program would, without what stands for something of the reader's."""
  if command.program == "cae":
    own = itertools.takewhile(lambda word: word not in "<|>", command.arguments)
    make_parser().parse_args([*spelled([*own])])
    return
  program = importlib.import_module(command.program)
  if hasattr(program, "define_flags"):
    # What follows -- is for others to read.
    own = [*itertools.takewhile(lambda argument: argument != "--", command.arguments)]
    given = [a for a in own if not _PLACEHOLDER.fullmatch(a.partition("=")[2] or a)]
    named = {argument.partition("=")[0] for argument in own}
    required = [f"{name}=x" for name in REQUIRED if name in named]
    parse(program.define_flags, [*required, *given])


# What makes a command of the README short; later flags count.
_PICTURES = ("--dataset=photos", "--source_dir={pictures}")
_SHORT = {
  "train": (
    *_PICTURES,
    "--valid_dataset=photos",
    "--valid_split=valid",
    "--model=paper",
    "--channels=4,6,8",
    "--patch_size=16",
    "--valid_patch_size=32",
    "--batch_size=2",
    "--optimizer=adam",
    "--steps=2",
    "--warmup_steps=0",
  ),
  "evaluate": (*_PICTURES, "--efforts=", "--codecs=jpeg"),
  "evaluate --lossless": ("--sets=mine={pictures}", "--near_lossless=1", "--codecs=png"),
  "timing": (*_PICTURES, "--image=0", "--codecs=jpeg", "--repeats=1", "--cold_repeats=1"),
  "report": (*_PICTURES, "--gallery=1", "--gallery_codecs=jpeg"),
  "crops": (*_PICTURES, "--crops=test0.png:0:0:32", "--rates=2", "--codecs=jpeg"),
  "paper_slip": (*_PICTURES,),
}
# In several processes, or from weights of another network than the short one.
_OF_SEVERAL = ("--coordinator_address", "--start_weights")


@pytest.fixture
def reader(tmp_path, monkeypatch):
  """A reader's folder, with the package's flagfiles and a photograph; the weights are tiny ones."""
  monkeypatch.setenv(compile_cache.ENVIRONMENT, "")
  weights = tmp_path / "weights"
  weights.mkdir()
  for name in (shipped.DEFAULT, shipped.EYE):
    tiny = dataclasses.replace(context_weights(), name=name)
    save_weights(weights / f"{name}.safetensors", tiny)
  exact = dataclasses.replace(tiny_weights(), name=shipped.LOSSLESS)
  save_weights(weights / "exact.safetensors", exact)
  monkeypatch.setattr(shipped, "FOLDER", weights)
  monkeypatch.setattr(timing, "_cold", lambda *_: (1.0, 100.0))
  pictures = tmp_path / "pictures"
  pictures.mkdir()
  for number, name in enumerate(("a", "valid", "test0", "test1")):
    write_image(pictures / f"{name}.png", photo(40, 56, seed=number))
  home = tmp_path / "home"
  home.mkdir()
  (home / "experiments").symlink_to(PROGRAMS)
  write_image(home / "photo.png", photo(48, 64))
  monkeypatch.chdir(home)
  return pictures


def test_the_commands_of_the_readme_run(reader, capsys):
  assert {"cae", "experiments.train", "experiments.evaluate"} <= {c.program for c in README}
  seen = set()
  for command in README:
    name, arguments = command.program.rpartition(".")[2], [*command.arguments]
    name += " --lossless" if name == "evaluate" and "--lossless" in arguments else ""
    if name == "cae":
      status = cae.main(arguments)
    elif (
      name not in _SHORT
      or name in seen
      or any(a.startswith(_OF_SEVERAL) for a in command.arguments)
    ):
      continue
    else:
      program = importlib.import_module(command.program)
      short = [flag.format(pictures=reader) for flag in _SHORT[name]]
      status = cli.run(program.main, program.define_flags, [*arguments, *short])
      seen.add(name)
    assert status == 0, f"{command}: {capsys.readouterr().err}"


_GUIDES = ["docs/tutorial.md", *(page for page in PAGES if page.startswith("docs/how-to/"))]


@pytest.mark.parametrize("page", [page for page in _GUIDES if "```python" in PAGES[page]])
def test_the_python_of_the_guides_runs(page, reader, monkeypatch):
  # A notebook shows what an expression gives, and so reads an image to its end.
  shown = lambda value: getattr(value, "_repr_png_", lambda: None)()
  monkeypatch.setattr(sys, "displayhook", shown)
  image = photo(192, 256)  # large enough for a fifth of a bit a pixel
  write_image("photo.png", image)
  write_image("scan.png", image.astype(np.uint16) * 16)
  Path("scan.png").rename("scan.dcm")  # told by its content
  Path("photos").symlink_to(reader)
  names = {"cae_jax": cae_jax, "image": image}
  Path("photo.cae").write_bytes(cae_jax.compress(image))
  Path("shards").mkdir()
  write_shard(f"shards/a{SUFFIX}", [Path("photo.cae").read_bytes()])
  for block in re.findall(r"^```python\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL):
    exec(compile(ast.Interactive(ast.parse(block).body), page, "single"), names)
