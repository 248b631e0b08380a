"""What those flags of training are for that not every run has a use for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cae_jax.errors import UsageError
from cae_jax.models import model_class
from experiments.program_flags import Args


class _Use(NamedTuple):
  """Flags, and what runs have a use for them, in words and in fact."""

  words: str
  holds: Callable[[Args], bool]
  flags: tuple[str, ...]


def _learns(args: Args) -> str:
  """The objective of a run: that of its model, or "look"."""
  return "look" if args.task == "look" else model_class(args.model).objective


_OF_LOOKS = (
  "fade", "texture", "inception", "texture_weight", "repeat_weight", "start_look",
  "adversarial_weight", "discriminator_channels", "discriminator_rate",
)  # fmt: skip
_USES = (
  _Use("--task=look", lambda args: _learns(args) == "look", _OF_LOOKS),
  _Use(
    "models with a rate",
    lambda args: _learns(args) == "rate_distortion",
    ("cost_power", "halved_chroma"),
  ),
  _Use(
    "models with a rate and looks",
    lambda args: _learns(args) in ("rate_distortion", "look"),
    ("distortion",),
  ),
  _Use("--distortion=eye", lambda args: args.distortion == "eye", ("eye_share",)),
  _Use(
    "models that make images",
    lambda args: _learns(args) != "code_length",
    ("min_scale", "valid_patch_size", "cache_gib"),
  ),
  _Use(
    "--model=lossless",
    lambda args: _learns(args) == "code_length",
    ("shrink_min", "shrink_max", "subsampled_share", "grey_share"),
  ),
  _Use(
    "--model=context without --start_weights",
    lambda args: (args.task, args.model, args.start_weights) == ("model", "context", None),
    ("block_transform",),
  ),
)


def unused(args: Args) -> list[str]:
  """Returns the flags that were given and that the run has no use for, each with what it is for."""
  return [
    f"{args[name].serialize()} (for {use.words})"
    for use in _USES
    if not use.holds(args)
    for name in _given(args, use.flags)
  ]


def check_task(args: Args) -> None:
  """Raises UsageError if --task=look seems to be forgotten: hours of another training."""
  given = [args[name].serialize() for name in _given(args, _OF_LOOKS)]
  if given and args.task != "look":
    raise UsageError(f"{' '.join(given)}: for --task=look; give that, too, or leave this out")


def _given(args: Args, names: tuple[str, ...]) -> Iterator[str]:
  # A flags.txt gives all flags; what is given as it is by default, nobody misses.
  return (name for name in names if args[name].present and args[name].value != args[name].default)
