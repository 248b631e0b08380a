"""The figures that a training run logs, metrics.jsonl: one object {"step", "split", ...} a line."""

import json
import pathlib
from os import PathLike
from typing import Any


def read_metrics(path: str | PathLike) -> list[dict[str, Any]]:
  """Reads the lines of a metrics.jsonl; one that was cut off in mid-write is left out."""
  lines = []
  for text in pathlib.Path(path).read_text("utf-8", "replace").splitlines():
    try:
      line = json.loads(text)
    except ValueError:
      continue
    if isinstance(line, dict) and "step" in line:
      lines.append(line)
  return lines
