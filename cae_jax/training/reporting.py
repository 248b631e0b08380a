"""What a run writes about itself: metrics.jsonl and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from cae_jax.atomic import write_text
from cae_jax.metrics_file import read_metrics


class MetricsLog:
  """Appends figures to workdir/metrics.jsonl and to TensorBoard's events, on the first process.

  A line is {"step", "split", figures...}. Lines beyond the step that a run resumes from are
  dropped at the start, since the steps they tell of are done again; at step 0 all are.
  """

  def __init__(self, workdir: Path, resume_step: int):
    self._active = jax.process_index() == 0
    self._path = workdir / "metrics.jsonl"
    if not self._active:
      return
    workdir.mkdir(parents=True, exist_ok=True)
    if self._path.exists():
      _drop_later(self._path, resume_step)
    self._events = SummaryWriter(str(workdir), purge_step=resume_step + 1 if resume_step else 0)

  def __enter__(self) -> "MetricsLog":
    return self

  def __exit__(self, *exception) -> None:
    if self._active:
      self._events.close()

  def write(self, step: int, split: str, figures: Mapping[str, float]) -> None:
    """Writes one line, at once, and one event a figure."""
    if not self._active:
      return
    with self._path.open("a") as file:
      file.write(json.dumps({"step": step, "split": split, **figures}) + "\n")
    for name, value in figures.items():
      self._events.add_scalar(f"{split}/{name}", value, step)
    self._events.flush()


def say(message: str) -> None:
  """Prints a line on the first process, above a progress bar."""
  if jax.process_index() == 0:
    tqdm.write(message)


def _drop_later(path: Path, step: int) -> None:
  kept = [line for line in read_metrics(path) if line["step"] <= step] if step else []
  write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
