"""The flags of `experiments.visit`."""

from experiments import train_flags
from experiments.program_flags import Flags


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
