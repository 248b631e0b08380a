"""The flags of a training run, and the file that keeps them."""

from pathlib import Path
from typing import Any

from absl import flags

from cae_jax.images.files import replace_atomically
from cae_jax.images.preprocessing import PREPROCESSINGS
from cae_jax.models import MODELS
from cae_jax.models.layers import UPSAMPLINGS
from cae_jax.training.losses import DISTORTIONS
from cae_jax.training.optimizers import OPTIMIZERS, SCHEDULES

NAME = flags.DEFINE_string("name", "paper", "Names the run and its weights.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; runs/NAME if not given.")

DATASET = flags.DEFINE_string("dataset", "kodak/paper", "Data set, as TFDS names it.")
SOURCE_DIR = flags.DEFINE_string(
  "source_dir", None, "Folder of images or tar shards to read instead of downloading."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data sets are kept.")
TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "Split to train on.")
TEST_SPLIT = flags.DEFINE_string(
  "test_split", "test", "Split to report on at the end; empty: no report."
)
VALID_DATASET = flags.DEFINE_string("valid_dataset", "sample_photos", "Data set to validate on.")
VALID_SPLIT = flags.DEFINE_string("valid_split", "test", "Its split; never that of the report.")
RESCALE = flags.DEFINE_list(
  "rescale", [], "HEIGHT,WIDTH to resample all images to, as the paper does; not at all if empty."
)
PATCH_SIZE = flags.DEFINE_integer("patch_size", 128, "Side of training patches.", lower_bound=8)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Patches a step, on all devices together.", 1)
VALID_PATCH_SIZE = flags.DEFINE_integer("valid_patch_size", 256, "Side of validation patches.", 8)
CACHE_GIB = flags.DEFINE_float("cache_gib", 4.0, "Memory for decoded images.", lower_bound=0)

MODEL = flags.DEFINE_enum("model", "paper", list(MODELS), "Network.")
CHANNELS = flags.DEFINE_list(
  "channels", None, "Features of the encoder's stages; the model's own choice if not given."
)
KERNEL_SIZE = flags.DEFINE_integer("kernel_size", 3, "Side of the convolutions' kernels, odd.", 1)
BOTTLENECK = flags.DEFINE_integer(
  "bottleneck", 0, "Channels of the latents; 0: the last stage's.", 0
)
UPSAMPLING = flags.DEFINE_enum(
  "upsampling", "subpixel", list(UPSAMPLINGS), "How the decoder doubles the resolution."
)
LATENT_BITS = flags.DEFINE_integer(
  "latent_bits", 0, "Bits that training rounds latents to; 0 trains without rounding.", 0, 16
)
CODING_BITS = flags.DEFINE_integer("coding_bits", 8, "Bits a latent is rounded to in files.", 1, 12)
BLOCKS = flags.DEFINE_list("blocks", None, "Residual blocks at each resolution, of `context`.")
WIDTH = flags.DEFINE_integer("width", None, "Hidden channels of the context passes.", 8)
HIDDEN_CHANNELS = flags.DEFINE_integer(
  "hidden_channels", None, "N of `hyperprior`: channels of its transforms and hyper-latents.", 1
)
LATENT_CHANNELS = flags.DEFINE_integer("latent_channels", None, "M of `hyperprior`.", 1)
LMBDA = flags.DEFINE_float(
  "lmbda", None, "Of rate_bpp + lmbda * MSE (0-255), for models of one rate.", 1e-5
)
LMBDA_MIN = flags.DEFINE_float("lmbda_min", None, "Smallest lmbda of a variable-rate model.", 1e-5)
LMBDA_MAX = flags.DEFINE_float("lmbda_max", None, "Its largest lmbda.", 1e-5)
DISTORTION = flags.DEFINE_enum("distortion", "mse", list(DISTORTIONS), "Of codec models.")
COST_POWER = flags.DEFINE_float(
  "cost_power", 1.0, "Training minimises means of cost^p; below 1 smooth images count more.", 0.01
)
BLOCK_TRANSFORM = flags.DEFINE_enum(
  "block_transform", "klt", ["klt", "random"], "Where the linear path of `context` starts."
)
START_WEIGHTS = flags.DEFINE_string(
  "start_weights", None, "Weights to go on from, by path or name, instead of random ones."
)
MIN_SCALE = flags.DEFINE_float(
  "min_scale", 1.0, "Images are shrunk by a random factor down to this before cropping.", 0.1, 1
)
PREPROCESSING = flags.DEFINE_enum(
  "preprocessing", "ycbcr", list(PREPROCESSINGS), "What the network sees of the image."
)
COMPUTE_DTYPE = flags.DEFINE_enum(
  "compute_dtype", "float32", ["float32", "bfloat16"], "Of the convolutions in training."
)

STEPS = flags.DEFINE_integer("steps", 1000, "Length of the run.", lower_bound=1)
OPTIMIZER = flags.DEFINE_enum("optimizer", "adam", list(OPTIMIZERS), "Optimiser.")
LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Its peak rate.", lower_bound=0)
SCHEDULE = flags.DEFINE_enum("schedule", "cosine", SCHEDULES, "Decay of the rate.")
WARMUP_STEPS = flags.DEFINE_integer("warmup_steps", 100, "Linear rise of the rate.", lower_bound=0)
CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Largest norm of the gradient; 0: any.", 0)
EMA_DECAY = flags.DEFINE_float("ema_decay", 0.999, "Of the average of the parameters.", 0, 1)
SEED = flags.DEFINE_integer("seed", 0, "Of initialisation, patches and noise.", lower_bound=0)
LOG_EVERY = flags.DEFINE_integer("log_every", 20, "Steps from log line to log line.", 1)
VALIDATE_EVERY = flags.DEFINE_integer("validate_every", 500, "Steps between validations.", 1)

MAX_MINUTES = flags.DEFINE_float(
  "max_minutes", float("inf"), "Stop after so long, as if interrupted; the same command goes on."
)
CARRY_FROM = flags.DEFINE_string(
  "carry_from", None, "Folder of a state from elsewhere to go on from, in a fresh workdir."
)
CARRY_TO = flags.DEFINE_string(
  "carry_to", None, "Folder to write the state to at the end of this call, as files below 16 MiB."
)

EXPORT_DTYPE = flags.DEFINE_enum(
  "export_dtype", "float32", ["float32", "float16"], "Of the parameters in weights.safetensors."
)
EXPORT_ONLY = flags.DEFINE_bool(
  "export_only",
  False,
  "Do not train: export and report on the best checkpoint, or else on --carry_from's state.",
)

COORDINATOR = flags.DEFINE_string(
  "coordinator_address", None, "HOST:PORT of process 0, to train with several processes."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is.", lower_bound=0)

# What may differ from start to resumption: it does not change what is learnt, or, as --steps does,
# it says how long to go on.
_FREE = (
  WORKDIR, SOURCE_DIR, DATA_DIR, TEST_SPLIT, CACHE_GIB, STEPS, LOG_EVERY, VALIDATE_EVERY,
  EXPORT_DTYPE,
)  # fmt: skip
_KEPT = (
  NAME, DATASET, TRAIN_SPLIT, VALID_DATASET, VALID_SPLIT, RESCALE, PATCH_SIZE,
  BATCH_SIZE, VALID_PATCH_SIZE, MODEL, CHANNELS, KERNEL_SIZE, BOTTLENECK, UPSAMPLING, LATENT_BITS,
  CODING_BITS, BLOCKS, WIDTH, HIDDEN_CHANNELS, LATENT_CHANNELS, LMBDA, LMBDA_MIN, LMBDA_MAX,
  DISTORTION, COST_POWER, BLOCK_TRANSFORM, START_WEIGHTS, MIN_SCALE, PREPROCESSING, COMPUTE_DTYPE,
  OPTIMIZER, LEARNING_RATE, SCHEDULE, WARMUP_STEPS, CLIP_NORM, EMA_DECAY, SEED,
)  # fmt: skip


def workdir() -> Path:
  """The run's folder."""
  return Path(WORKDIR.value or Path("runs") / NAME.value)


# Fields of models whose flags have other names.
_FLAGS_OF_FIELDS = {"fixed_lmbda": LMBDA.name}


def model_setting(name: str, default: Any) -> Any:
  """The value of a field of the model: the flag of that name, or the model's own choice."""
  name = _FLAGS_OF_FIELDS.get(name, name)
  value = flags.FLAGS[name].value if name in flags.FLAGS else None
  if value is None:
    return list(default) if isinstance(default, tuple) else default
  return [int(v) for v in value] if isinstance(value, list) else value


def resolved() -> dict[str, str]:
  """The run's flags by name, as lines of a flagfile; those not set are left out."""
  lines = {h.name: flags.FLAGS[h.name].serialize() for h in (*_KEPT, *_FREE)}
  return {name: line for name, line in lines.items() if line}


def keep_flags(path: Path) -> None:
  """Writes the resolved flags as a flagfile, after comparing them with those that are there.

  Raises:
    ValueError: the run in this folder was started with other flags that matter.
  """
  ours = resolved()
  if path.exists():
    _check_same(path, ours)
  path.parent.mkdir(parents=True, exist_ok=True)
  with replace_atomically(path) as temporary:
    temporary.write_text("".join(f"{line}\n" for line in ours.values()))


def _check_same(path: Path, ours: dict[str, str]) -> None:
  theirs = {line.lstrip("-").partition("=")[0]: line for line in path.read_text().splitlines()}
  for holder in _KEPT:
    then, now = theirs.get(holder.name, _default_line(holder)), ours.get(holder.name, "")
    if then != now:
      raise ValueError(
        f"{path.parent} holds a run with {then or f'no --{holder.name}'}, this one has "
        f"{now or 'none'}; resume it with the same flags, or give another --workdir"
      )


def _default_line(holder: flags.FlagHolder) -> str:
  """The line of a flag that an older version did not have: what it did then is the default."""
  return "" if holder.default is None else f"--{holder.name}={holder.default}"
