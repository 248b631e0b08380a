"""Integer frequency tables: what both entropy coders agree on, bit for bit."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cae_jax.coding.pmf import quantize_pmf
from cae_jax.errors import UsageError

MAX_PRECISION = 24  # bits; the fixed-point precision of constriction's models
MAX_SYMBOLS = 1 << 16
MAX_TABLES = 1 << 16


@dataclass(frozen=True, eq=False)
class CodingTables:
  """T cumulative frequency tables over runs of consecutive integers.

  Table t gives the integers offsets[t], offsets[t] + 1, ... the slots 0, 1, ... lengths[t] - 1;
  slot s has the frequency cdf[t, s + 1] - cdf[t, s] out of 2^precision. With `has_escape` the last
  slot of each table stands for every integer outside the run. Equal content is equal, and hashes
  alike.

  Attributes:
    cdf: [T, L + 1] uint32; row t rises strictly from 0 to 2^precision over lengths[t] + 1 entries
      and stays there.
    lengths: [T] int32, slots of each table, the escape included.
    offsets: [T] int32, the integer of slot 0.
    precision: bits, 1 to 24.
    has_escape: whether the last slot is the escape.
  """

  cdf: np.ndarray
  lengths: np.ndarray
  offsets: np.ndarray
  precision: int
  has_escape: bool

  def __post_init__(self):
    set_field = object.__setattr__
    set_field(self, "cdf", _frozen_integers("cdf", self.cdf, np.uint32, 2))
    set_field(self, "lengths", _frozen_integers("lengths", self.lengths, np.int32, 1))
    set_field(self, "offsets", _frozen_integers("offsets", self.offsets, np.int32, 1))
    set_field(self, "precision", int(self.precision))
    set_field(self, "has_escape", bool(self.has_escape))
    _validate(self)

  def __len__(self) -> int:
    return len(self.lengths)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, CodingTables) and self.digest == other.digest

  def __hash__(self) -> int:
    return hash(self.digest)

  @cached_property
  def digest(self) -> bytes:
    """SHA-256 of the content in little-endian order, the same on every machine."""
    head = np.array([*self.cdf.shape, self.precision, self.has_escape], "<u4")
    parts = [head, self.cdf.astype("<u4"), self.lengths.astype("<i4"), self.offsets.astype("<i4")]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()

  @cached_property
  def frequencies(self) -> np.ndarray:
    """[T, L] int64, zero beyond each table's slots."""
    frequencies = np.diff(self.cdf.astype(np.int64), axis=1)
    frequencies.flags.writeable = False
    return frequencies

  @cached_property
  def regular_lengths(self) -> np.ndarray:
    """[T] int64, slots without the escape."""
    return self.lengths.astype(np.int64) - self.has_escape

  def slot_bits(self) -> np.ndarray:
    """Returns what each slot costs, [T, L] float64; of an escape without its value, a byte or more.

    Infinite beyond each table's slots.
    """
    with np.errstate(divide="ignore"):
      return self.precision - np.log2(self.frequencies)

  def to_arrays(self) -> dict[str, np.ndarray]:
    """Returns the content as named arrays, fit for a safetensors file."""
    settings = np.array([self.precision, self.has_escape], np.int32)
    return {
      "cdf": self.cdf.astype(np.int32),
      "lengths": self.lengths,
      "offsets": self.offsets,
      "settings": settings,
    }

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "CodingTables":
    """Builds tables from the arrays of `to_arrays`.

    Raises:
      UsageError: an array is missing, or the content is not a valid set of tables.
    """
    missing = {"cdf", "lengths", "offsets", "settings"} - set(arrays)
    if missing:
      raise UsageError(f"coding tables lack the arrays {sorted(missing)}")
    settings = np.asarray(arrays["settings"])
    if settings.shape != (2,) or settings[1] not in (0, 1):
      raise UsageError(f"expected settings [precision, has_escape], got {settings.tolist()}")
    return cls(
      arrays["cdf"], arrays["lengths"], arrays["offsets"], int(settings[0]), bool(settings[1])
    )


def _frozen_integers(name: str, array: np.ndarray, dtype: type, ndim: int) -> np.ndarray:
  array = np.asarray(array)
  if array.ndim != ndim or array.dtype.kind not in "iu":
    raise UsageError(f"{name}: expected {ndim}-d integers, got {array.dtype}{list(array.shape)}")
  limits = np.iinfo(dtype)
  if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
    raise UsageError(f"{name}: values do not fit {np.dtype(dtype)}")
  array = array.astype(dtype, order="C")
  array.flags.writeable = False
  return array


def _validate(tables: CodingTables) -> None:
  cdf, lengths = tables.cdf.astype(np.int64), tables.lengths
  count, width = len(lengths), cdf.shape[1] - 1
  if not 1 <= tables.precision <= MAX_PRECISION:
    raise UsageError(f"precision is {tables.precision}, expected 1 to {MAX_PRECISION} bits")
  if not 1 <= count <= MAX_TABLES or len(cdf) != count or len(tables.offsets) != count:
    raise UsageError(
      f"expected 1 to {MAX_TABLES} tables and as many rows, lengths and offsets; got"
      f" {len(cdf)}, {count}, {len(tables.offsets)}"
    )
  if lengths.min() < 1 or lengths.max() != width or width > MAX_SYMBOLS:
    raise UsageError(f"lengths must be 1 to {MAX_SYMBOLS} with the longest equal to {width}")
  inside = np.arange(width) < lengths[:, None]
  steps = np.diff(cdf, axis=1)
  if (cdf[:, 0] != 0).any() or (cdf[:, -1] != 1 << tables.precision).any():
    raise UsageError(f"every cdf must start at 0 and end at 2^{tables.precision}")
  if (steps[inside] < 1).any() or steps[~inside].any():
    raise UsageError("every cdf must rise by 1 or more per symbol and stay constant after its end")
  if (tables.offsets + tables.regular_lengths).max() > 1 << 31:
    raise UsageError("offsets + lengths must not exceed 2^31")


def tables_from_frequencies(
  frequencies: Sequence[np.ndarray], offsets: Sequence[int], precision: int, has_escape: bool
) -> CodingTables:
  """Builds tables from rows of integer frequencies (each of sum 2^precision), of any lengths."""
  lengths = np.array([len(row) for row in frequencies], np.int32)
  cdf = np.full((len(lengths), lengths.max(initial=0) + 1), 1 << precision, np.uint32)
  for row, values in zip(cdf, frequencies):
    row[0] = 0
    row[1 : len(values) + 1] = np.cumsum(values, dtype=np.uint64)
  return CodingTables(cdf, lengths, np.asarray(offsets, np.int64), precision, has_escape)


def tables_from_pmfs(
  pmfs: Sequence[np.ndarray], offsets: Sequence[int], precision: int = 16, escape: bool = True
) -> CodingTables:
  """Builds tables from probabilities.

  Args:
    pmfs: T arrays [L_t] of float64 probabilities of offsets[t], offsets[t] + 1, ...
    offsets: T integers.
    precision: bits.
    escape: appends to each table an escape slot with the mass that its pmf lacks to 1; without it
      the pmfs are normalised, and integers outside cannot be coded.
  Returns:
    T tables, of L_t (+ 1) slots.
  Raises:
    ValueError: a pmf has negative or non-finite values, no mass, or more symbols than 2^precision.
  """
  if len(pmfs) != len(offsets):
    raise ValueError(f"got {len(pmfs)} pmfs and {len(offsets)} offsets")
  rows = [np.asarray(pmf, np.float64) for pmf in pmfs]
  if escape:
    rows = [np.append(row, max(0.0, 1.0 - math.fsum(row))) for row in rows]
  frequencies = [quantize_pmf(row, precision) for row in rows]
  return tables_from_frequencies(frequencies, offsets, precision, escape)


def tables_from_counts(
  counts: np.ndarray, precision: int = 16, *, offset: int = 0, smoothing: float = 0.5
) -> CodingTables:
  """Builds tables from how often each symbol was seen, without an escape.

  Args:
    counts: [T, L] integers >= 0, of the symbols offset ... offset + L - 1 (b bits: L = 2^b).
    precision: bits.
    offset: the first symbol, of all tables.
    smoothing: added to every count; 1/2 is the estimator of Krichevsky and Trofimov (1981).
  Returns:
    T tables of L slots.
  """
  counts = np.asarray(counts)
  if counts.ndim != 2 or (counts < 0).any() or smoothing <= 0:
    raise ValueError(
      f"expected counts [T, L] >= 0 and smoothing > 0, got shape {counts.shape} and {smoothing}"
    )
  pmfs = counts.astype(np.float64) + smoothing
  return tables_from_pmfs(list(pmfs), [offset] * len(pmfs), precision, escape=False)
