"""Decodes the golden files here, and says of each whether its picture is the one beside it.

  python -m tests.golden.check [--json]

Anybody can run it, on any machine, with nothing installed but what the codec needs. It prints
versions, processor and device, and a line a file. Lossless pictures must be the same to the last
bit. Of lossy ones the symbols must be, as their checksums say; pixels are synthesised in floats,
and may differ by one level in less than one of a hundred samples. Status 1 if a file is not so.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import platform
import sys
from pathlib import Path

import numpy as np
import threadpoolctl

import cae_jax
from cae_jax import codec
from cae_jax.coding.bitstream import unpack
from cae_jax.images.files import read_image
from tests.golden import FOLDER

_LOSSLESS = "lossless"  # how names of lossless files begin
_LARGEST_SHARE = 0.01  # of samples of lossy pictures that may be rounded the other way


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A golden file's picture, as decoded here, beside the one that is kept.

  Attributes:
    name: of the file, without suffix.
    version: of the format.
    samples: of the picture.
    different: how many of them.
    largest: difference, in levels.
    is_right: as it must be.
  """

  name: str
  version: int
  samples: int
  different: int
  largest: int
  is_right: bool

  def __str__(self) -> str:
    words = "same"
    if self.different:
      words = f"{self.different} of {self.samples} samples differ by at most {self.largest}"
    return f"{self.name:20} version {self.version}: {words}{'' if self.is_right else ' WRONG'}"


def names() -> list[str]:
  """Returns the names of all files, without suffix."""
  return sorted(path.stem for path in FOLDER.glob("*.cae"))


_load = functools.cache(codec.load)


def compare(name: str) -> Comparison:
  """Decodes a file; raises BitstreamError if its symbols are not exact."""
  data = (FOLDER / f"{name}.cae").read_bytes()
  model, weights = name.partition("-")[0], None
  if not name.endswith("-released"):
    weights = FOLDER / f"{model}.safetensors"
  decompress = _load(weights).decompress if weights and weights.exists() else cae_jax.decompress
  found = decompress(data)
  exact = model.startswith(_LOSSLESS)
  expected = read_image(FOLDER / f"{name}.png", exact=exact).pixels
  version = unpack(data).header.version
  if (found.shape, found.dtype) != (expected.shape, expected.dtype):
    return Comparison(name, version, expected.size, expected.size, 1 << 16, is_right=False)
  difference = np.abs(found.astype(int) - expected)
  different, largest = np.count_nonzero(difference), int(difference.max())
  few = largest <= 1 and different < _LARGEST_SHARE * expected.size
  return Comparison(name, version, expected.size, different, largest, few and not exact * largest)


def changed() -> list[str]:
  """Returns the names of files that are not those of SHA256SUMS, or not in it."""
  lines = (FOLDER / "SHA256SUMS").read_text("ascii").splitlines()
  sums = {name: digest for digest, name in map(str.split, lines)}
  found = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
    for end in ("cae", "png", "safetensors")
    for path in FOLDER.glob(f"*.{end}")
  }
  return sorted(name for name in sums | found if sums.get(name) != found.get(name))


def environment() -> dict[str, str]:
  """Returns what may matter: versions, BLAS with its kernels, processor, JAX's device."""
  import jax

  device = jax.devices()[0]
  blas = [
    f"{library['internal_api']} {library['version']} ({library.get('architecture', '?')})"
    for library in threadpoolctl.threadpool_info()
    if library["user_api"] == "blas"
  ]
  return {
    "Python": platform.python_version(),
    "JAX": jax.__version__,
    "NumPy": np.__version__,
    "BLAS": ", ".join(dict.fromkeys(blas)) or "unknown",
    "device": f"{device.platform} {device.device_kind}",
    "processor": f"{platform.machine()} {_processor()}".strip(),
    "system": platform.platform(terse=True),
  }


def _processor() -> str:
  try:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
  except OSError:
    return platform.processor()
  return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--json", action="store_true", help="one line for programs")
  args = parser.parse_args()
  comparisons = [compare(name) for name in names()]
  others, about = changed(), environment()
  right = sum(found.is_right for found in comparisons)
  same = sum(not found.different for found in comparisons)
  if args.json:
    files = [dataclasses.asdict(found) for found in comparisons]
    print(json.dumps({"environment": about, "files": files, "changed": others}))
  else:
    for name, value in about.items():
      print(f"{name + ':':11} {value}")
    print(*comparisons, sep="\n")
    for name in others:
      print(f"{name}: not the file of SHA256SUMS")
    print(f"{right} of {len(comparisons)} as they must be, {same} the same to the last bit")
  return int(right < len(comparisons) or bool(others))


if __name__ == "__main__":
  sys.exit(main())
