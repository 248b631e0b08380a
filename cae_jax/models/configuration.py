"""Settings of models: the fields of their dataclasses, which weights files keep."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from cae_jax.errors import UsageError

T = TypeVar("T")
_NOT_SETTINGS = ("parent", "name", "dtype")  # those of Flax, and how a network is computed


def setting_fields(kind: type) -> dict[str, Any]:
  """Returns the names of settings and their defaults, given a model's class or that of these."""
  fields = dataclasses.fields(kind)
  return {field.name: field.default for field in fields if field.name not in _NOT_SETTINGS}


def settings(model: Any) -> dict[str, Any]:
  """Returns the settings of a model, JSON-able."""
  values = {name: getattr(model, name) for name in setting_fields(type(model))}
  return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def configured(kind: type[T], config: Mapping[str, Any], **more: Any) -> T:
  """Makes a model, or only its settings, of a configuration.

  Args:
    kind: class of the model or of its settings.
    config: JSON-able; "model" names it, the rest are its settings. Those that are not given have
      their defaults, as in older weights files.
    **more: fields that are no settings.
  Raises:
    UsageError: an unknown setting.
  """
  fields = {k: _hashable(v) for k, v in config.items() if k != "model"}
  known = setting_fields(kind)
  unknown = sorted(fields.keys() - known.keys())
  if unknown:
    raise UsageError(
      f"the model {config['model']!r} has no setting {', '.join(unknown)}; expected some of "
      f"{', '.join(known)}. Weights of a newer version?"
    )
  return kind(**fields, **more)


def _hashable(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value
