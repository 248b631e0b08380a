"""The flags of a training run, and the file that keeps them."""

from pathlib import Path
from typing import Any

from cae_jax.atomic import replace_atomically
from cae_jax.errors import UsageError
from cae_jax.images.preprocessing import PREPROCESSINGS
from cae_jax.models import MODELS, model_class
from cae_jax.models.configuration import setting_fields
from cae_jax.models.layers import UPSAMPLINGS
from cae_jax.paths import make_folder
from cae_jax.training.distortions import DISTORTIONS
from cae_jax.training.loop import LoopConfig
from cae_jax.training.optimizers import OPTIMIZERS, SCHEDULES
from cae_jax.training.reporting import say
from cae_jax.training.workdir import holds_run
from cae_jax.weights import shipped
from experiments import flag_uses
from experiments.program_flags import Args, Flags, defined, parse

# What may differ from start to resumption: it does not change what is learnt, or, as --steps does,
# it says how long to go on.
_FREE = frozenset({
  "workdir", "source_dir", "data_dir", "inception", "test_split", "cache_gib", "steps", "log_every",
  "validate_every", "max_skipped", "export_dtype",
})  # fmt: skip
# What concerns one call alone, and is not kept.
_OF_THE_CALL = frozenset({
  "began_at", "debug", "max_minutes", "carry_from", "carry_to", "export_only",
  "coordinator_address", "num_processes", "process_id",
})  # fmt: skip
# Where things lie on one machine is nobody else's business.
_PLACES = frozenset({"workdir", "source_dir", "data_dir", "inception", "output", "cache_from"})
# Nor are these, unless they are names of weights that ship.
_STARTS = "start_weights", "start_look"
# Paths need not be UTF-8.
_ENCODING: Any = {"encoding": "utf-8", "errors": "surrogateescape"}
# Fields of models whose flags have other names.
_FLAGS_OF_FIELDS = {"fixed_lmbda": "lmbda"}


def define_flags(flags: Flags) -> None:
  """Defines the flags."""
  flags.string("name", "paper", "Names the run and its weights.")
  flags.path("workdir", None, "Where the run lives; runs/NAME if not given.")

  _define_data(flags)
  flags.choice("model", "paper", MODELS, "Network.")
  _define_settings(flags)
  flags.choice(
    "task",
    "model",
    ("model", "look"),
    "What is trained: a model, or the look of --start_weights, which stay as they are.",
  )
  flags.choice(
    "block_transform", "klt", ["klt", "random"], "Where the linear path of `context` starts."
  )
  flags.path(
    "start_weights", None, "Weights to go on from, by path or name, instead of random ones."
  )
  _define_objective(flags)
  _define_look(flags)
  _define_optimisation(flags)
  flags.choice(
    "compute_dtype", "float32", ["float32", "bfloat16"], "Of the convolutions in training."
  )

  flags.number(
    "max_minutes", float("inf"), "Stop then, as if interrupted; the same command goes on."
  )
  flags.integer(
    "max_skipped",
    LoopConfig.max_skipped,
    "Steps in a row, skipped for not being finite, after which a run counts as diverged.",
    lower_bound=1,
  )
  flags.path(
    "carry_from", None, "Folder of a state from elsewhere to go on from, in a fresh workdir."
  )
  flags.path(
    "carry_to", None, "Folder to write the state to at the end of this call, as files below 16 MiB."
  )

  flags.choice(
    "export_dtype", "float32", ["float32", "float16"], "Of the parameters in weights.safetensors."
  )
  flags.boolean(
    "export_only",
    False,
    "Do not train: export and report on the best checkpoint, or else on --carry_from's state.",
  )

  flags.string(
    "coordinator_address", None, "HOST:PORT of process 0, to train with several processes."
  )
  flags.integer("num_processes", None, "Number of processes.", lower_bound=1)
  flags.integer("process_id", None, "Number of this process, from 0.", lower_bound=0)


def _define_data(flags: Flags) -> None:
  flags.string("dataset", "kodak/paper", "Data set, as TFDS names it, or cae_shards.")
  flags.path(
    "source_dir",
    None,
    "Folder to read instead of downloading: images, tar shards, or cae_shards.",
  )
  flags.path("data_dir", None, "Where prepared data sets are kept.")
  flags.string("train_split", "train", "Split to train on.")
  flags.string("test_split", "test", "Split to report on at the end; empty: no report.")
  flags.string("valid_dataset", "sample_photos", "Data set to validate on.")
  flags.string("valid_split", "test", "Split of valid_dataset, which chooses the checkpoint.")
  flags.integers(
    "rescale",
    [],
    "HEIGHT,WIDTH to resample all images to, as the paper does; not at all if empty.",
    lower_bound=1,
    form="HEIGHT,WIDTH",
  )
  flags.integer(
    "patch_size", 128, "Side of training patches; of `lossless`, of blocks of any level.", 8
  )
  flags.integer("batch_size", 8, "Patches a step, on all devices together.", 1)
  flags.integer("valid_patch_size", 256, "Side of validation patches.", 8)
  flags.number("cache_gib", 4.0, "Memory for decoded images.", lower_bound=0)
  flags.number(
    "min_scale", 1.0, "Images are shrunk by a random factor down to this before cropping.", 0.1, 1
  )
  flags.number(
    "halved_chroma",
    0.0,
    "Share of patches with chroma of half the resolution, as in most JPEG files; if with a rate.",
    0,
    1,
  )
  flags.number(
    "shrink_min", 1.5, "For `lossless`, photographs are shrunk by a factor from this,", 1, 16
  )
  flags.number("shrink_max", 2.0, "to this, for natural last bits; 1 and 1: not at all.", 1, 16)
  flags.number(
    "subsampled_share",
    0.25,
    "For `lossless`, share of photographs that get chroma of half the resolution.",
    0,
    1,
  )
  flags.number("grey_share", 0.06, "For `lossless`, share of photographs that are made grey.", 0, 1)


def _define_settings(flags: Flags) -> None:
  """Defines the settings of models; one that is not given is the model's own."""
  flags.integers("channels", None, "Features of the encoder's stages.", 1)
  flags.integer("kernel_size", None, "Side of the convolutions' kernels, odd.", 1)
  flags.integer("bottleneck", None, "Channels of the latents; 0: the last stage's.", 0)
  flags.choice("upsampling", None, UPSAMPLINGS, "How the decoder doubles the resolution.")
  flags.integer(
    "latent_bits", None, "Bits that training rounds latents to; 0 trains without rounding.", 0, 16
  )
  flags.integer("coding_bits", None, "Bits a latent is rounded to in files.", 1, 12)
  flags.integers("blocks", None, "Residual blocks at each resolution, of `context`.", 0)
  flags.integer("width", None, "Hidden channels of the context passes.", 8)
  flags.integer(
    "hidden_channels", None, "N of `hyperprior`: channels of its transforms and hyper-latents.", 1
  )
  flags.integer("latent_channels", None, "M of `hyperprior`.", 1)
  flags.integers("trunk_widths", None, "Features of the layers of `lossless`'s trunks.", 1)
  flags.integer("head_width", None, "Features of the hidden layers of `lossless`'s heads.", 1)
  flags.boolean("biases", None, "Files of `lossless` say where an image's samples lie to one side.")
  flags.number("lmbda", None, "Of rate_bpp + lmbda * MSE (0-255), for models of one rate.", 1e-5)
  flags.number("lmbda_min", None, "Smallest lmbda of a variable-rate model.", 1e-5)
  flags.number("lmbda_max", None, "Largest lmbda of a variable-rate model.", 1e-5)
  flags.choice("preprocessing", None, PREPROCESSINGS, "What the network sees of the image.")


def _define_objective(flags: Flags) -> None:
  flags.choice("distortion", "mse", DISTORTIONS, "Of codec models.")
  flags.number("eye_share", 0.5, "Of SSIMULACRA2 in --distortion=eye; the rest is MSE.", 0, 1)
  flags.number(
    "cost_power", 1.0, "Training minimises means of cost^p; below 1 smooth images count more.", 0.01
  )


def _define_look(flags: Flags) -> None:
  flags.integers(
    "fade",
    [45, 80],
    "Qualities: up to the first a look counts in full, from the second on not at all.",
    0,
    100,
    form="FULL,GONE",
  )
  flags.choice(
    "texture",
    "filters",
    ("filters", "inception", "vgg"),
    "What compares textures for a look: fixed filters, features of --inception, or of the VGG16 of "
    "the extra `realism`, which take ten times as long.",
  )
  flags.path("inception", None, "Folder of nsfwjs' Inception v3, for --texture=inception.")
  flags.number(
    "texture_weight", 1.0, "Of a look's textures, against 1 for --distortion; 0: none.", 0
  )
  flags.number(
    "repeat_weight", 0.5, "Of what a look repeats from block to block, against 1 for that.", 0
  )
  flags.path(
    "start_look", None, "Weights, by path or name, whose look to go on from; none: no difference."
  )
  flags.number("adversarial_weight", 0.1, "Of a look's discriminator; 0: none.", 0)
  flags.integers(
    "discriminator_channels",
    [64, 128, 128],
    "Features of a look's discriminator at 1/4, 1/8, 1/16.",
    1,
    form="A,B,C",
  )
  flags.number(
    "discriminator_rate", 3e-4, "Peak learning rate of a look's discriminator, by Adam.", 0
  )


def _define_optimisation(flags: Flags) -> None:
  flags.integer("steps", 1000, "Length of the run.", lower_bound=1)
  flags.choice("optimizer", "adam", OPTIMIZERS, "Optimiser; b2 of adam and adamw is 0.99.")
  flags.number("learning_rate", 2e-3, "Peak learning rate.", lower_bound=0)
  flags.choice("schedule", "cosine", SCHEDULES, "Decay of the learning rate.")
  flags.integer("warmup_steps", 100, "Steps of linear rise of the learning rate.", lower_bound=0)
  flags.number("clip_norm", 1.0, "Largest norm of the gradient; 0: any.", 0)
  flags.number("ema_decay", 0.999, "Of the average of the parameters.", 0, 1)
  flags.integer("seed", 0, "Of initialisation, patches and noise.", 0, 2**32 - 1)
  flags.integer("log_every", 20, "Steps from log line to log line.", 1)
  flags.integer("validate_every", 500, "Steps between validations.", 1)


def workdir(args: Args) -> Path:
  """Returns the run's folder."""
  return args.workdir or Path("runs") / args.name


def model_settings(args: Args) -> dict[str, Any]:
  """Returns the settings of --model by its fields: the flags of these names, or its own choice."""
  values = {field: args[name].value for field, name in _settings(args).items()}
  fields = setting_fields(model_class(args.model))
  own = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
  return own | {field: value for field, value in values.items() if value is not None}


def _settings(args: Args) -> dict[str, str]:
  """The names of flags by the fields of --model, of those that have one."""
  fields = setting_fields(model_class(args.model))
  names = {field: _FLAGS_OF_FIELDS.get(field, field) for field in fields}
  return {field: name for field, name in names.items() if name in _SETTINGS}


def resolved(args: Args) -> dict[str, str]:
  """Returns the run's flags by name, as lines of a flagfile; those not set are left out.

  Of the settings of models those of --model are all there; none for a look, whose weights have
  them.
  """
  left_out = _OF_THE_CALL | _SETTINGS
  lines = {name: args[name].serialize() for name in args if name not in left_out}
  if args.task == "model":
    values, flags = model_settings(args), defined(_define_settings)
    for field, name in _settings(args).items():
      flags[name].value = values[field]
      lines[name] = flags[name].serialize()
  return {name: line for name, line in lines.items() if line}


def to_publish(args: Args) -> dict[str, str]:
  """Returns the resolved flags without this machine's folders, for weights that are passed on."""
  shipped_names = shipped.shipped()
  left_out = _PLACES | {name for name in _STARTS if str(args[name].value) not in shipped_names}
  return {name: line for name, line in resolved(args).items() if name not in left_out}


def keep_flags(args: Args, path: Path) -> None:
  """Writes the resolved flags as a flagfile, after comparing them with those of a run there.

  Flags that were given and that the run has no use for are told.

  Raises:
    UsageError: the run in this folder was started with other flags that matter, or flags of a look
      are to begin a run of another --task.
  """
  ours = resolved(args)
  if path.exists() and holds_run(path.parent):
    _check_same(path, args, ours)
  else:
    flag_uses.check_task(args)
  if unused := [*_settings_of_others(args), *flag_uses.unused(args)]:
    say(f"not used: {', '.join(unused)}")
  make_folder(path.parent)
  with replace_atomically(path) as temporary:
    temporary.write_text("".join(f"{line}\n" for line in ours.values()), **_ENCODING)


def kept_steps(path: Path) -> int | None:
  """Returns the --steps that `keep_flags` has written; None if there is no such file."""
  lines = path.read_text(**_ENCODING).splitlines() if path.exists() else []
  found = [line.partition("=")[2] for line in lines if line.startswith("--steps=")]
  return int(found[-1]) if found else None


def _settings_of_others(args: Args) -> list[str]:
  """The settings that were given and that --model has not."""
  if args.task == "look":  # flagfiles of looks begin with those of models
    return []
  others = sorted(_SETTINGS - {*_settings(args).values()})
  given = [args[name].serialize() for name in others if args[name].present]
  return [f"{line} (--model={args.model} has no such setting)" for line in given]


def _check_same(path: Path, args: Args, ours: dict[str, str]) -> None:
  lines = path.read_text(**_ENCODING).splitlines()
  # What a flag did before there was that flag is its default.
  known = parse(define_flags, [f"--model={args.model}", f"--task={args.task}"])
  theirs = resolved(known) | {_name_of(line, known): line for line in lines}
  not_of_it = _SETTINGS - ours.keys()
  for name in known:
    then, now = theirs.get(name), ours.get(name)
    if then != now and name not in _FREE | not_of_it:
      raise UsageError(
        f"{path.parent} holds a run with {then or f'no --{name}'}, this one has "
        f"{now or 'none'}; resume it with the same flags, or give another --workdir"
      )


def _name_of(line: str, known: Args) -> str:
  """The flag of a line such as --steps=10, --biases or --nobiases."""
  name = line.lstrip("-").partition("=")[0]
  return name if name in known else name.removeprefix("no")


_SETTINGS = frozenset(defined(_define_settings)) - {"debug"}
