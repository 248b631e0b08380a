"""The flags of a program: defined for one run of it, and read from a command line.

absl's own flags are one set for a whole process, in which a name can be defined only once. Here a
program has a function `define_flags(flags)`, and every run of it a set of its own, so one process
can import all programs and run several.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from cae_jax.errors import UsageError
from cae_jax.paths import user_path

absl_flags.disclaim_key_flags()  # in --help flags stand under the modules that define them

# The values of one run's flags, such as `args.output` of --output.
Args = absl_flags.FlagValues


class Flags:
  """Defines the flags of one run of a program.

  `--flagfile` and `--undefok` of absl need no definition.

  Attributes:
    args: the flags defined so far, by name.
  """

  def __init__(self):
    self.args = Args()

  def string(self, name: str, default: str | None, words: str, **options) -> None:
    """Defines a flag with any text."""
    absl_flags.DEFINE_string(name, default, words, flag_values=self.args, **options)

  def path(self, name: str, default: str | None, words: str, **options) -> None:
    """Defines a flag with a path, in which `~` is the home folder; a URL is an error."""
    self._define(_PathParser(), name, default, words, **options)

  def paths(self, name: str, default: Sequence[str] | None, words: str, **options) -> None:
    """Defines a flag with paths, with commas between them."""
    self._define(_ListParser(_PathParser()), name, default, words, **options)

  def boolean(self, name: str, default: bool | None, words: str) -> None:
    """Defines a flag that is on as --name and off as --noname."""
    absl_flags.DEFINE_boolean(name, default, words, flag_values=self.args)

  def integer(
    self,
    name: str,
    default: int | None,
    words: str,
    lower_bound: int | None = None,
    upper_bound: int | None = None,
  ) -> None:
    """Defines a flag with a whole number, from one bound to the other."""
    absl_flags.DEFINE_integer(name, default, words, lower_bound, upper_bound, flag_values=self.args)

  def integers(
    self,
    name: str,
    default: Sequence[int] | None,
    words: str,
    lower_bound: int | None = None,
    upper_bound: int | None = None,
    *,
    form: str = "",
  ) -> None:
    """Defines a flag with whole numbers, with commas between them.

    Args:
      name, default, words: as of all flags; a default of None is no list.
      lower_bound, upper_bound: of each number.
      form: such as "HEIGHT,WIDTH"; then there must be as many numbers as names in it, or none.
    """
    number = absl_flags.IntegerParser(lower_bound, upper_bound)
    self._define(_ListParser(number, form), name, default, words)

  def number(
    self,
    name: str,
    default: float | None,
    words: str,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
  ) -> None:
    """Defines a flag with a number, from one bound to the other."""
    absl_flags.DEFINE_float(name, default, words, lower_bound, upper_bound, flag_values=self.args)

  def numbers(
    self,
    name: str,
    default: Sequence[float] | None,
    words: str,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    *,
    form: str = "",
  ) -> None:
    """Defines a flag with numbers, with commas between them; arguments as of `integers`."""
    number = absl_flags.FloatParser(lower_bound, upper_bound)
    self._define(_ListParser(number, form), name, default, words)

  def choice(self, name: str, default: str | None, values: Iterable[str], words: str) -> None:
    """Defines a flag with one of several words."""
    absl_flags.DEFINE_enum(name, default, list(values), words, flag_values=self.args)

  def _define(self, parser, name, default, words, **options) -> None:
    absl_flags.DEFINE(
      parser, name, default, words, flag_values=self.args, serializer=_Serializer(), **options
    )


class _PathParser(absl_flags.ArgumentParser):
  syntactic_help = "a path"

  def parse(self, argument: str | Path) -> Path:
    return user_path(argument)


class _ListParser(absl_flags.ArgumentParser):
  """Reads items with commas between them into a list; an empty text is an empty list."""

  def __init__(self, item: absl_flags.ArgumentParser, form: str = ""):
    self._item = item
    self._form = form
    self.syntactic_help = form or f"{item.syntactic_help}, or several with commas"

  def parse(self, argument: str | Sequence[Any]) -> list[Any]:
    items = argument.split(",") if isinstance(argument, str) and argument else list(argument)
    values = [self._item.parse(item) for item in items]
    if self._form and values and len(values) != len(self._form.split(",")):
      raise ValueError(f"expected {self._form}, got {len(values)} values")
    return values


class _Serializer(absl_flags.ArgumentSerializer):
  def serialize(self, value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


Definer = Callable[[Flags], None]


def defined(define_flags: Definer) -> Args:
  """Returns the flags of a program with their defaults, and --debug, which all have."""
  flags = Flags()
  flags.boolean("debug", False, "Show the traceback of an error, and what libraries log.")
  define_flags(flags)
  return flags.args


def parse(define_flags: Definer, arguments: Sequence[str]) -> Args:
  """Reads the flags of a program, as a notebook may do it.

  Args:
    define_flags: of the program.
    arguments: such as ["--steps=10"], without the program's name.
  Returns:
    The values of all flags.
  Raises:
    UsageError: an argument is no flag, or has a value that its flag cannot have.
  """
  args = defined(define_flags)
  try:
    rest = args(["", *arguments])[1:]
  except absl_flags.Error as error:
    raise UsageError(str(error)) from error
  except UnicodeDecodeError as error:
    raise UsageError(f"--flagfile: expected a text file ({error})") from error
  if rest:
    raise UsageError(f"unexpected argument {rest[0]!r}; flags have the form --name=value")
  return args
