"""Files in the place of weights that are none."""

import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save


def _headed(header: bytes) -> bytes:
  return struct.pack("<Q", len(header)) + header


# By what is wrong with them; None stands for a folder.
NO_WEIGHTS: dict[str, bytes | None] = {
  "picture": b"\x89PNG\r\n\x1a\n" * 9,
  "empty": b"",
  "list": _headed(b"[]"),
  "text": _headed(b'{"a"'),
  "bytes": _headed(b"\xff\xfe\xfd"),
  "short": save({"a": np.zeros(9)})[:-8],
  "folder": None,
}


def no_weights(folder: Path, name: str) -> Path:
  """Makes one of them."""
  path = folder / f"{name}.safetensors"
  content = NO_WEIGHTS[name]
  if content is None:
    path.mkdir()
  else:
    path.write_bytes(content)
  return path
