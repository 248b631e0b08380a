"""The notebooks run from the first cell to the last, as a reader would run them, only smaller."""

import ast
import base64
import os
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from cae_jax.images.files import read_rgb, write_image
from tests.golden import FOLDER as GOLDEN
from tests.integration.conftest import environment
from tests.trained import pictures

FOLDER = Path(__file__).parents[2] / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# A notebook's number: what its cell of parameters is replaced with.
SMALL: dict[str, dict[str, Any]] = {
  "1": {
    "WEIGHTS": str(GOLDEN / "context.safetensors"),
    "PHOTOGRAPH": "photograph.png",
    "RATE_BPP": 2.0,
    "SHOWN": (0, 100),
    "QUALITIES": (0, 100),
    "BASELINES": "jpeg",
    "FOLDER": ".",
  },
  "2": {
    "STEPS": 3,
    "OPTIMIZER": "adam",
    "CHANNELS": (4, 6, 8),
    "PATCH_SIZE": 16,
    "BATCH_SIZE": 2,
    "BASELINES": "jpeg",
    "FOLDER": ".",
  },
  "3": {
    "STEPS": 3,
    "PATCH_SIZE": 16,
    "BATCH_SIZE": 2,
    "HIDDEN": 4,
    "LATENTS": (4, 6),
    "LMBDA": 0.01,
    "FOLDER": ".",
  },
}
# What the last of a reader's cells has printed, and how many figures are in between.
EXPECTED = {
  "1": ("JPEG at quality", 3),
  "2": ("JPEG has that PSNR at", 4),
  "3": ("bytes by its probabilities", 2),
}
# Run before the rest: small photographs in place of those of scikit-image.
_SMALL_PHOTOGRAPHS = """
from cae_jax.data import sources

whole = sources.load_source
sources.load_source = lambda _, split: whole("photos", split, source_dir="photographs")
"""
_HASTE = "--xla_llvm_disable_expensive_passes=true"


def _parameters(notebook) -> Any:
  [cell] = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
  return cell


def _number(path: Path) -> str:
  return path.stem.partition("_")[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_number)
def test_notebooks_are_kept_clean(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
  first = ast.parse(_parameters(notebook).source)
  assert code[0] is _parameters(notebook)
  assigned = {node.targets[0].id for node in first.body if isinstance(node, ast.Assign)}
  assert assigned == set(SMALL[_number(path)])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_number)
def test_notebooks_run(path, tmp_path, monkeypatch):
  notebook = nbformat.read(path, as_version=4)
  settings = SMALL[_number(path)]
  _parameters(notebook).source = "\n".join(f"{k} = {v!r}" for k, v in settings.items())
  notebook.cells.insert(0, nbformat.v4.new_code_cell(_SMALL_PHOTOGRAPHS))
  write_image(tmp_path / "photograph.png", pictures(1, 170)[0][:166])
  for name, picture in zip(("a", "b", "test/c", "test/d"), pictures(4, 170, seed=1)):
    (tmp_path / "photographs" / name).parent.mkdir(parents=True, exist_ok=True)
    write_image(tmp_path / "photographs" / f"{name}.png", picture)
  for name, value in environment().items():
    monkeypatch.setenv(name, value)
  # Nearly all of the time is XLA compiling programs that run for milliseconds.
  monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {_HASTE}")
  # As in a notebook, and without a screen.
  monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
  resources = {"metadata": {"path": str(tmp_path)}}
  NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
  outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
  printed = "".join(out.text for out in outputs if out.output_type == "stream")
  words, figures = EXPECTED[_number(path)]
  assert words in printed
  assert "Warning" not in printed
  images = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
  assert len(images) == figures
  assert all(np.ptp(read_rgb(base64.b64decode(image))) > 100 for image in images)
