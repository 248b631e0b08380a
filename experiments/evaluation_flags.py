"""The flags that say which weights to measure, and on which images."""

from pathlib import Path

import numpy as np
from absl import flags

from cae_jax.codec import Codec
from cae_jax.data.sources import load_source

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished training run.")
WEIGHTS = flags.DEFINE_string(
  "weights", None, "Shipped weights by name, or a weights file, instead of --workdir."
)
DATASET = flags.DEFINE_string("dataset", "kodak", "Data set, as TFDS names it.")
SPLIT = flags.DEFINE_string("split", "test", "Its split.")
SOURCE_DIR = flags.DEFINE_string(
  "source_dir", None, "Folder of images or tar shards to read instead of downloading."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data sets are kept.")
BPG_DIR = flags.DEFINE_string("bpg_dir", None, "Folder of bpgenc and bpgdec; else the PATH.")

Images = list[tuple[str, np.ndarray]]


def weights() -> str | Path:
  """The weights to load, of --workdir or --weights.

  Raises:
    ValueError: not exactly one of the two was given.
    FileNotFoundError: the run has not been finished.
  """
  if (WORKDIR.value is None) == (WEIGHTS.value is None):
    raise ValueError("give either --workdir or --weights")
  if WORKDIR.value is None:
    return WEIGHTS.value or ""
  path = Path(WORKDIR.value) / "weights.safetensors"
  if not path.exists():
    raise FileNotFoundError(
      f"{path} is not there; finish the run: python -m experiments.train with its flags"
    )
  return path


def images() -> Images:
  """All images of the split."""
  source = load_source(
    DATASET.value, SPLIT.value, source_dir=SOURCE_DIR.value, data_dir=DATA_DIR.value
  )
  return [(e["name"], e["image"]) for e in source]


def unseen_images(codec: Codec) -> Images:
  """The images of the split that the weights have not been trained on."""
  trained_on = set(codec.weights.card.get("trained_on", ()))
  examples = images()
  unseen = [(name, x) for name, x in examples if name not in trained_on]
  if len(unseen) < len(examples):
    print(f"{len(examples) - len(unseen)} of {len(examples)} images left out: trained on")
  if not unseen:
    raise ValueError(f"the weights were trained on all of {DATASET.value} {SPLIT.value}")
  return unseen
