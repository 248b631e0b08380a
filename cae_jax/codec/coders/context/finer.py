"""Steps finer than a model was trained with: the rate levels beyond its last trade-off.

Its transforms lose little by themselves; what is lost is rounded away. So a file may count in steps
down to a quarter of the model's. The networks still see and say everything in the model's own
steps: means and scales are carried over to the file's, and decoded latents back, in integers, so
that all machines do the same.
"""

import numpy as np

from cae_jax.codec.info import RATE_LEVELS
from cae_jax.models.exact.conditional import INDEX_BITS, LOG_SCALE_UNIT

FINENESS_BITS = 10  # behind the point
ONE = 1 << FINENESS_BITS


def fineness(rate_level: int) -> int:
  """Returns how many steps of a file are one of the model's, in 1024ths: 1024 up to quality 100."""
  return ONE + max(rate_level - RATE_LEVELS, 0)


def in_files_steps(means: np.ndarray, fineness: int) -> np.ndarray:
  """Turns sixteenths of the model's step into those of a file's: int32, to the nearest."""
  if fineness == ONE:
    return means
  half = 1 << (FINENESS_BITS - 1)
  return ((means.astype(np.int64) * fineness + half) >> FINENESS_BITS).astype(np.int32)


def in_models_steps(latents: np.ndarray, fineness: int) -> np.ndarray:
  """Turns sixteenths of a file's step into those of the model's: int32, to the nearest."""
  if fineness == ONE:
    return latents
  twice = latents.astype(np.int64) << (FINENESS_BITS + 1)
  return ((twice + fineness) // (2 * fineness)).astype(np.int32)


def wider(fineness: int) -> int:
  """Returns by how much scales grow with their numbers: in 256ths of an index of the tables.

  The only logarithm. None of these is within 1e-4 of a half, so it is the same everywhere.
  """
  return round(float(np.log(fineness / ONE)) / LOG_SCALE_UNIT)


def wider_table(table: int, fineness: int) -> int:
  """Returns the index of the table whose scale is that of another one in finer steps."""
  half = 1 << (INDEX_BITS - 1)
  return table + ((wider(fineness) + half) >> INDEX_BITS)
