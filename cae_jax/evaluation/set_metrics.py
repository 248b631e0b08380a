"""Metrics of many pictures at once: features of each file are kept, and compared at the end."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cae_jax.atomic import replace_atomically
from cae_jax.evaluation import samples
from cae_jax.evaluation.records import Record, group_of
from cae_jax.images.metrics import kernel_distance


def keep_features(folder: Path, x_uint8: np.ndarray) -> str:
  """Stores the features of a picture's patches, once, for `with_kid`.

  Args:
    folder: made if need be; 2 KiB a patch.
    x_uint8: uint8 [H, W, 3]; a picture smaller than a patch has none.
  Returns:
    The picture's digest, by which the features are found.
  Raises:
    MissingExtraError: the network's package is not installed.
  """
  from cae_jax.images.metrics import resnet  # with JAX, which reports do without

  digest = samples.digest(x_uint8)
  path = _path(folder, digest)
  if not path.exists():
    features = resnet.features(resnet.load(), kernel_distance.patches(x_uint8))
    folder.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, open(temporary, "wb") as file:
      np.save(file, features.astype(np.float16))
  return digest


def with_kid(records: Sequence[Record], folder: Path) -> list[Record]:
  """Fills in the kernel distance of each codec and setting, in all records of them.

  Args:
    records: any; where some of a codec and setting failed, or have no features, all have no KID,
      but for one that all of them have from another run.
    folder: of `keep_features`.
  Returns:
    The records, in their order.
  """
  groups: dict[tuple, list[Record]] = {}
  for record in records:
    if record.image is not None:
      groups.setdefault((record.dataset, record.version, *group_of(record)), []).append(record)
  found = {key: _kid(members, folder) for key, members in groups.items()}
  key = lambda record: (record.dataset, record.version, *group_of(record))
  return [dataclasses.replace(record, kid=found.get(key(record))) for record in records]


def _kid(members: Sequence[Record], folder: Path) -> float | None:
  pairs = []
  for record in members:
    paths = [_path(folder, digest) for digest in (record.digest, record.decoded_digest or "")]
    if not record.ok or not all(path.exists() for path in paths):
      earlier = {member.kid for member in members}
      return earlier.pop() if len(earlier) == 1 else None
    pairs.append([np.load(path) for path in paths])
  features, features_hat = (np.concatenate(side) for side in zip(*pairs))
  return kernel_distance.kid(features, features_hat) if len(features) > 1 else None


def _path(folder: Path, digest: str) -> Path:
  return folder / f"{digest}.npy"
