"""Measures the lossless model: bits per sub-pixel, times by part, and JPEG XL beside.

    python tests/benchmarks/lossless_codec.py --weights=FILE_OR_WORKDIR --images=FOLDER_OR_TAR
        [--every=N] [--bytes] [--shrink] [--jpegxl=7,9]

Code lengths are of the integer tables (a file's bytes but for header and checksums); the side
information is counted as a Laplacian would code it. With --bytes each image is coded and decoded by
rANS, compared, and timed. --shrink shrinks by 1.5 to 2 as in training.
"""

import concurrent.futures
import json
import pathlib
import time

import numpy as np
import threadpoolctl
from absl import app, flags

from cae_jax.codec.lossless.tile import tables_from_arrays
from cae_jax.coding import rans
from cae_jax.coding.symbols import information_bits
from cae_jax.coding.tables import CodingTables
from cae_jax.data.listing import list_files, read_members
from cae_jax.images.files import read_rgb
from cae_jax.models.lossless import passes
from cae_jax.models.lossless.network import networks_of
from cae_jax.models.lossless.phases import CHANNEL_ORDER, PARITIES
from cae_jax.weights import load_weights

_WEIGHTS = flags.DEFINE_string("weights", None, "File, or workdir of a run.", required=True)
_IMAGES = flags.DEFINE_string("images", None, "Folder or tar.", required=True)
_EVERY = flags.DEFINE_integer("every", 1, "Take every N-th image.")
_BYTES = flags.DEFINE_bool("bytes", False, "Code, decode, compare and time.")
_SHRINK = flags.DEFINE_bool("shrink", False, "By 1.5 to 2.")
_JPEGXL = flags.DEFINE_list("jpegxl", [], "Efforts.")
_THREADS = flags.DEFINE_integer("threads", 2, "Of parts of a phase.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON lines.")


def main(argv) -> None:
  del argv
  path = pathlib.Path(_WEIGHTS.value)
  weights = load_weights(path / "weights.safetensors" if path.is_dir() else path)
  networks, step = networks_of(weights.params), weights.card["step"]
  tables = tables_from_arrays(weights.table("distribution"))
  print(f"step {step}")
  rows = []
  for name, image in _images():
    x = np.ascontiguousarray(image.transpose(2, 0, 1)[list(CHANNEL_ORDER)])
    row = {"image": name, "step": step, **_measure(x, networks, tables)}
    for effort in _JPEGXL.value:
      row[f"jpegxl_e{effort}"] = _jpegxl_bits(image, int(effort)) / image.size
    rows.append(row)
    _write(row)
  means = {k: float(np.mean([r[k] for r in rows])) for k in rows[0] if k != "image"}
  _write({"image": "mean", **means})


def _write(row: dict) -> None:
  line = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
  print(json.dumps(line), flush=True)
  if _OUTPUT.value:
    with open(_OUTPUT.value, "a") as file:
      file.write(json.dumps(line) + "\n")


def _images():
  files = [(p, *m) for p in list_files(_IMAGES.value) for m in read_members(p, _IMAGES.value)]
  for i, (path, member, data) in list(enumerate(files))[:: _EVERY.value]:
    image = read_rgb(data)
    if _SHRINK.value:
      image = _shrunk(image, i)
    yield member or path.name, image


def _shrunk(image: np.ndarray, seed: int) -> np.ndarray:
  from PIL import Image

  factor = np.random.default_rng([0, seed]).uniform(1.5, 2.0)
  height, width = (round(side / factor) for side in image.shape[:2])
  return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _jpegxl_bits(image: np.ndarray, effort: int) -> int:
  import imagecodecs

  return 8 * len(imagecodecs.jpegxl_encode(image, lossless=True, effort=effort))


def _measure(x: np.ndarray, networks, tables: CodingTables) -> dict[str, float]:
  parts: list[rans.Part] = []
  bits: dict[str, float] = {}

  def code(place: passes.Place, expected: passes.Expected):
    row, column = PARITIES[place.plane]
    level = x[place.channel, :: 2**place.level, :: 2**place.level]
    samples = level[row::2, column::2].reshape(-1).astype(np.int32)
    parts.append((samples - expected.middles - expected.starts, expected.tables, tables))
    key = f"level_{min(place.level, 2)}"
    bits[key] = bits.get(key, 0.0) + information_bits(*parts[-1]) / x.size
    return samples

  with concurrent.futures.ThreadPoolExecutor(_THREADS.value) as pool, _one_blas_thread():
    start = time.perf_counter()
    side = passes.side_of(x)
    linear_s = time.perf_counter() - start
    start = time.perf_counter()
    coded = passes.run(
      passes.coarsest_of(x), x.shape[1:], side, networks, code, in_parallel=pool.map
    )
    passes_s = time.perf_counter() - start
    assert (coded == x).all()
    side_bits = _side_bits(side) / x.size
    coarsest_bits = 8 * passes.coarsest_of(x).size / x.size
    row = {"bpsp": sum(bits.values()) + side_bits + coarsest_bits, "side": side_bits, **bits}
    if _BYTES.value:
      row |= {"linear_s": linear_s, "passes_s": passes_s}
      row |= _round_trip(x, side, networks, tables, parts, pool)
  return row


def _one_blas_thread():
  return threadpoolctl.threadpool_limits(1, "blas")


def _round_trip(x, side, networks, tables, parts, pool) -> dict[str, float]:
  start = time.perf_counter()
  data = rans.encode_parts(parts)
  rans_encode_s = time.perf_counter() - start
  rans_s = 0.0
  decoder = rans.Decoder(data)

  def code(place, expected):
    nonlocal rans_s
    begin = time.perf_counter()
    samples = decoder.decode(expected.tables, tables) + expected.middles + expected.starts
    rans_s += time.perf_counter() - begin
    return samples

  start, cpu = time.perf_counter(), time.process_time()
  decoded = passes.run(
    passes.coarsest_of(x), x.shape[1:], side, networks, code, in_parallel=pool.map
  )
  decoder.finish()
  assert (decoded == x).all()
  return {
    "rans_bpsp": 8 * len(data) / x.size,
    "rans_encode_s": rans_encode_s,
    "decode_s": time.perf_counter() - start,
    "decode_cpu_s": time.process_time() - cpu,
    "decode_rans_s": rans_s,
  }


def _side_bits(side: passes.Side) -> float:
  sizes = [
    len(k) * np.log2(2 * np.e * max(np.abs(k).mean(), 1))
    for level in side.coefficients
    for phase in level
    for k in phase
  ]
  return float(sum(sizes)) + 4 * side.log_sizes.size


if __name__ == "__main__":
  app.run(main)
