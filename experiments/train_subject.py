"""What a program trains, by --task: a model (`train_parts`), or the look of one (`train_look`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import ImageSource
from cae_jax.models import Network
from cae_jax.models.base import RandomBlocks
from cae_jax.training.losses import ErrorsFn, LossFn
from cae_jax.training.state import Optimizer, TrainState
from experiments import train_look, train_parts
from experiments.program_flags import Args


class Subject(Protocol):
  """The functions that the module of a --task has, each of the flags of a run."""

  def model(self, args: Args) -> Network:
    """Returns the network that is trained, or whose look is; raises UsageError if there is none."""

  def parameter_shapes(self, args: Args) -> Any:
    """Returns shapes and types of what is trained; raises as `model`."""

  def initial_params(self, args: Args, model: Network, blocks: RandomBlocks) -> Any:
    """Returns what training starts from."""

  def optimizer(self, args: Args) -> Optimizer:
    """Returns the optimiser with the schedule of the flags, in steps."""

  def optimizer_at(self, args: Args, rate: Any) -> Optimizer:
    """Returns the optimiser at a learning rate, which may be traced."""

  def objectives(
    self, args: Args, model: Network
  ) -> tuple[LossFn | Mapping[str, LossFn], ErrorsFn]:
    """Returns what training minimises, and what validation measures."""

  def trained_on(self, args: Args, source: ImageSource) -> TrainedOn:
    """Lists the photographs of this run, and of all weights that it starts from."""

  def export(
    self, args: Args, path: Path, state: TrainState, source: ImageSource, seen: TrainedOn
  ) -> dict[str, Any]:
    """Writes the weights of a state beside what goes with them; returns their card."""


def of(args: Args) -> Subject:
  """Returns the module of --task."""
  if args.task == "look":
    return train_look
  return train_parts
