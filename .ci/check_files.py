"""Looks at files that are to be committed: python .ci/check_files.py FILE...

None is larger than 2 MiB, but for weights; notebooks have no output; texts have no trailing spaces,
no marks of a merge, and end in one line break.
"""

import json
import re
import sys
from pathlib import Path

_LARGEST = 2 << 20
_TEXTS = {".cff", ".flags", ".ipynb", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}
_MARK = re.compile(rb"^(<<<<<<< |>>>>>>> )", re.MULTILINE)


def faults(path: Path) -> list[str]:
  """Says what is wrong with a file, nothing if nothing is."""
  data = path.read_bytes()
  found = []
  if len(data) > _LARGEST and path.suffix != ".safetensors":
    found.append(f"{len(data)} bytes; a file has at most {_LARGEST}")
  if path.suffix == ".ipynb":
    cells = [cell for cell in json.loads(data)["cells"] if cell["cell_type"] == "code"]
    if any(cell["outputs"] or cell["execution_count"] is not None for cell in cells):
      found.append("has outputs; clear them")
  if path.suffix in _TEXTS:
    if re.search(rb"[ \t]$", data, re.MULTILINE):
      found.append("spaces at the end of a line")
    if data and not re.search(rb"[^\n]\n\Z", data):
      found.append("does not end in one line break")
    if _MARK.search(data):
      found.append("a mark of a merge")
  return [f"{path}: {fault}" for fault in found]


if __name__ == "__main__":
  lines = [fault for name in sys.argv[1:] for fault in faults(Path(name)) if Path(name).is_file()]
  print("\n".join(lines))
  sys.exit(bool(lines))
