import pickle

import pytest

import cae_jax
from cae_jax import errors


@pytest.mark.parametrize("name", [name for name in cae_jax.__all__ if name.endswith("Error")])
def test_errors_stand_at_the_top_of_the_package(name):
  error = getattr(cae_jax, name)
  assert error.__name__ == name
  assert issubclass(error, errors.Error)


def test_other_names_are_no_attributes():
  with pytest.raises(AttributeError, match="module 'cae_jax' has no attribute 'Errors'"):
    cae_jax.Errors  # noqa: B018


@pytest.mark.parametrize(
  ("error", "builtin"), [(cae_jax.UsageError, ValueError), (cae_jax.MissingExtraError, ImportError)]
)
def test_errors_are_those_of_python_too(error, builtin):
  assert issubclass(error, builtin)
  assert str(pickle.loads(pickle.dumps(error("why")))) == "why"
