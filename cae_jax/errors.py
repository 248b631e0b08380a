"""The base of every error that a user can mend."""


class Error(Exception):
  """Bad input, bad usage, or a surrounding that does not allow what was asked.

  The command line shows it as one line; anything else that escapes is a bug, with its traceback.
  """


class UsageError(Error, ValueError):
  """An argument, a flag or a combination of them that makes no sense: says what was expected."""


class MissingExtraError(Error, ImportError):
  """A package is needed that a bare installation does not bring: names the extra that does."""
