"""Speed and cost of the entropy coders: `python tests/benchmarks/coding.py`."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cae_jax.coding import (
  CodingTables,
  huffman,
  information_bits,
  rans,
  tables_from_counts,
  tables_from_pmfs,
)

REPEATS = 7
Message = tuple[np.ndarray, np.ndarray, CodingTables]


def gaussian_latents(count: int = 300_000) -> Message:
  """Zero-mean latents under 64 Gaussians of scale 0.11 to 64, most of them small."""
  rng = np.random.default_rng(0)
  scales = np.geomspace(0.11, 64, 64)
  supports = [np.arange(-int(5 * s) - 2, int(5 * s) + 3) for s in scales]
  # The mass of a unit-width bin, by a fine sum: no special functions needed.
  fine = (np.arange(64) + 0.5) / 64 - 0.5
  pmfs = [
    np.exp(-0.5 * ((x[:, None] + fine) / s) ** 2).mean(axis=1) / (s * np.sqrt(2 * np.pi))
    for x, s in zip(supports, scales)
  ]
  tables = tables_from_pmfs(pmfs, [x[0] for x in supports])
  indexes = np.minimum(rng.geometric(0.05, count) - 1, 63).astype(np.int32)
  return np.round(rng.normal(0, scales[indexes])).astype(np.int32), indexes, tables


def paper_latents() -> Message:
  """The paper's 128 x 192 x 128 latents in 8 bits, a table for each channel."""
  rng = np.random.default_rng(0)
  scales = rng.uniform(2, 40, 128)
  symbols = np.clip(np.round(rng.normal(128, scales, (128, 192, 128))), 0, 255).astype(np.int32)
  counts = [np.bincount(symbols[..., c].ravel(), minlength=256) for c in range(128)]
  indexes = np.broadcast_to(np.arange(128, dtype=np.int32), symbols.shape)
  return symbols, indexes, tables_from_counts(np.array(counts))


def median_s(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
  """Median seconds of a call after a first one that fills the caches, and its result."""
  result, times = function(*args), []
  for _ in range(REPEATS):
    start = time.perf_counter()
    function(*args)
    times.append(time.perf_counter() - start)
  return statistics.median(times), result


def report(name: str, message: Message) -> None:
  """Prints a line for each coder."""
  symbols, indexes, tables = message
  ideal_bytes = information_bits(*message) / 8
  print(f"{name}: {symbols.size} symbols, {8 * ideal_bytes / symbols.size:.3f} bits each")
  for coder in (rans, huffman):
    encode_s, data = median_s(coder.encode, *message)
    decode_s, decoded = median_s(coder.decode, data, indexes, tables)
    assert np.array_equal(decoded, symbols)
    label = coder.__name__.rsplit(".", 1)[-1]
    print(
      f"  {label:8} encode {1e3 * encode_s:6.1f} ms ({symbols.size / encode_s / 1e6:5.1f} M/s)"
      f"  decode {1e3 * decode_s:6.1f} ms ({symbols.size / decode_s / 1e6:5.1f} M/s)"
      f"  {len(data):8} bytes, {100 * (len(data) / ideal_bytes - 1):+.3f} % of the ideal"
    )


if __name__ == "__main__":
  report("Gaussian latents, 64 tables", gaussian_latents())
  report("Paper's latents, 128 tables", paper_latents())
