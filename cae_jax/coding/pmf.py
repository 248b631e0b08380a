"""Probabilities to integer frequencies."""

import heapq
import math

import numpy as np


def quantize_pmf(pmf: np.ndarray, precision: int = 16) -> np.ndarray:
  """Returns the integer frequencies of least coding cost: all >= 1, with sum 2^precision.

  Minimises -sum(pmf * log2(frequencies)). The cost is convex in each frequency, so single units are
  moved from where they are missed least to where they help most until no move pays. Only the basic
  operations of float64 are used (no library logarithm), the norm is summed exactly and ties go to
  the lower index: the result is the same on every machine.

  Args:
    pmf: [..., L] float64, finite, >= 0, not all zero in a row; need not sum to 1.
    precision: bits.
  Returns:
    [..., L] uint32.
  Raises:
    ValueError: a value is negative or not finite, a row is all zero, or L > 2^precision.
  """
  pmf = np.asarray(pmf, np.float64)
  if pmf.ndim == 0 or not 1 <= pmf.shape[-1] <= 1 << precision:
    raise ValueError(f"expected pmf [..., L] with 1 <= L <= 2^{precision}, got shape {pmf.shape}")
  if not np.isfinite(pmf).all() or (pmf < 0).any():
    raise ValueError("expected finite probabilities >= 0")
  rows = pmf.reshape(-1, pmf.shape[-1])
  frequencies = [_quantize_row(row, precision) for row in rows]
  return np.array(frequencies, np.uint32).reshape(pmf.shape)


def _quantize_row(pmf: np.ndarray, precision: int) -> list[int]:
  total = math.fsum(pmf)
  if not total > 0 or math.isinf(total):
    raise ValueError(f"a row of the pmf sums to {total}; expected a finite sum > 0")
  free = (1 << precision) - pmf.size
  weights = (pmf / total).tolist()
  # Floor of the share beyond the compulsory 1; `_spend` takes back what rounding gave too much.
  frequencies = [1 + int(weight * free) for weight in weights]
  _spend(weights, frequencies, (1 << precision) - sum(frequencies))
  _exchange(weights, frequencies)
  return frequencies


def _log_ratio(frequency: int) -> float:
  """log((f + 1) / f) by the series of 2 atanh(1 / (2 f + 1)): IEEE operations alone."""
  x = 1.0 / (2 * frequency + 1)
  xx = x * x
  return 2 * x * (1 + xx * (1 / 3 + xx * (1 / 5 + xx * (1 / 7 + xx * (1 / 9 + xx / 11)))))


def _gain(weight: float, frequency: int) -> float:
  return weight * _log_ratio(frequency)


def _loss(weight: float, frequency: int) -> float:
  return weight * _log_ratio(frequency - 1) if frequency > 1 else math.inf


def _spend(weights: list[float], frequencies: list[int], units: int) -> None:
  """Gives `units` (or takes them, if negative) one by one where they pay most (cost least)."""
  step, price = (1, _gain) if units >= 0 else (-1, _loss)
  heap = [(-step * price(w, f), i) for i, (w, f) in enumerate(zip(weights, frequencies))]
  heapq.heapify(heap)
  for _ in range(abs(units)):
    i = heap[0][1]
    frequencies[i] += step
    heapq.heapreplace(heap, (-step * price(weights[i], frequencies[i]), i))


def _exchange(weights: list[float], frequencies: list[int]) -> None:
  """Moves single units while that lowers the cost; one side of a move never moves back."""
  buyers = [(-_gain(w, f), i) for i, (w, f) in enumerate(zip(weights, frequencies))]
  sellers = [(_loss(w, f), i) for i, (w, f) in enumerate(zip(weights, frequencies))]
  heapq.heapify(buyers)
  heapq.heapify(sellers)
  bought, sold = set(), set()
  while buyers and sellers:
    (gain, buyer), (loss, seller) = buyers[0], sellers[0]
    if buyer in sold:
      heapq.heappop(buyers)
    elif seller in bought:
      heapq.heappop(sellers)
    elif -gain <= loss:
      break
    else:
      bought.add(buyer)
      sold.add(seller)
      frequencies[buyer] += 1
      frequencies[seller] -= 1
      heapq.heapreplace(buyers, (-_gain(weights[buyer], frequencies[buyer]), buyer))
      heapq.heapreplace(sellers, (_loss(weights[seller], frequencies[seller]), seller))
