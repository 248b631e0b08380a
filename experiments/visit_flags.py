"""The flags of `experiments.visit`."""

from cae_jax.errors import UsageError
from cae_jax.training.reporting import say
from experiments import train_flags
from experiments.program_flags import Args, Flags

# Of the flags of `experiments.train`: what a visit cannot do, and what it has no use for. Flagfiles
# for both programs have the latter.
_REFUSED = (
  "rescale", "max_minutes", "carry_to", "export_only", "coordinator_address", "num_processes",
  "process_id",
)  # fmt: skip
_UNUSED = (
  "dataset", "data_dir", "valid_dataset", "test_split", "cache_gib", "steps", "warmup_steps",
  "validate_every",
)  # fmt: skip


def define_flags(flags: Flags) -> None:
  """Defines the flags: those of `experiments.train`, and those of a visit."""
  train_flags.define_flags(flags)
  flags.path("output", None, "Folder for what comes back.", required=True)
  flags.number("minutes", 9.0, "When everything has to be done, in minutes from the start.", 0.1)
  flags.number(
    "began_at", None, "The start, in seconds of Unix time; that of the program if not given."
  )
  flags.number(
    "reserve_seconds", 75.0, "For the last validation and the export, out of the minutes.", 0
  )
  flags.integers(
    "batch_sizes", None, "Batches to measure and to choose from; only --batch_size if not given.", 1
  )
  flags.number(
    "compile_seconds", 90.0, "How long to wait for programs of more than one batch size.", 0
  )
  flags.integer(
    "grow_to", None, "Side of the patches at the end, as many pixels a batch; as before if not.", 8
  )
  flags.number("grow_at", 0.85, "From this part of the run on patches have that side.", 0, 1)
  flags.number("warmup", 0.02, "Part of the run in which the rate rises.", 0, 1)
  flags.integer("validations", 6, "In the course of the run, about.", 1)
  flags.path("cache_from", None, "A cache.tar of an earlier visit.")
  flags.boolean("trace", True, "Trace some steps at the end, if there is time.")


def check(args: Args) -> None:
  """Says which flags of `experiments.train` are not used.

  Raises:
    UsageError: one asks for what a visit cannot do.
  """
  given = lambda names: [f"--{name}" for name in names if args[name].present and args[name].value]
  if refused := given(_REFUSED):
    raise UsageError(
      f"{refused[0]}: a visit cannot do that; leave it out, or use experiments.train"
    )
  if unused := given(_UNUSED):
    say(f"{' '.join(unused)} not used: a visit reads --source_dir, and its schedule is of minutes")
