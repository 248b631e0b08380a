"""Which module makes what --task names."""

from typing import Any

from experiments import train_look, train_parts
from experiments.program_flags import Args


def parts(args: Args) -> Any:
  """Returns the module that makes network, optimiser and weights of what is trained."""
  return train_look if args.task == "look" else train_parts
