"""The command line, called by tests."""

from cae_jax import cli


def run(*arguments):
  """Exit status of the command with these arguments."""
  try:
    return cli.main([str(argument) for argument in arguments])
  except SystemExit as end:
    return end.code


def one_error(capsys):
  """The single line on standard error."""
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1, lines
  assert lines[0].startswith("error: ")
  return lines[0]
