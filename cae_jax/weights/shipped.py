"""The weights that come with the package, and how others are found."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cae_jax.errors import UsageError
from cae_jax.weights import WeightsError, read_metadata
from cae_jax.weights.look import SUFFIX as LOOK_SUFFIX

DEFAULT = "context2"
EYE = "eye3"  # tuned for how pictures look
LOSSLESS = "lossless2"
FOLDER = Path(__file__).parent


def shipped() -> dict[str, Path]:
  """Returns the weights files of the package, by the name that files carry as model id."""
  paths = (p for p in sorted(FOLDER.glob("*.safetensors")) if not p.name.endswith(LOOK_SUFFIX))
  return {read_metadata(path)["name"]: path for path in paths}


def find(name_or_path: str | os.PathLike | None = None) -> Path:
  """Finds the weights file of a shipped name, or the path itself; the default one if None.

  Raises:
    WeightsError: no such weights.
  """
  files = shipped()
  name = DEFAULT if name_or_path is None else os.fspath(name_or_path)
  if name in files:
    return files[name]
  if name_or_path is not None and (Path(name).exists() or Path(name).suffix):
    return Path(name)
  raise WeightsError(
    f"this version of cae_jax has no weights named {name!r} ({_names(files)}); give a "
    "weights file, such as the weights.safetensors of a training run"
  )


def default_tune(targets: Mapping[str, Any]) -> str:
  """Returns what to tune a file for if nothing is said: small errors for a PSNR, else the eye.

  Args:
    targets: what is asked for, by name.
  """
  return "eye" if targets.get("psnr") is None else "psnr"


def tuned(tune: str) -> str:
  """Returns the name of the shipped weights that are tuned for "psnr" or for the "eye".

  Raises:
    UsageError: there is no such tune, or this version comes without weights for it.
  """
  names = {"psnr": DEFAULT, "eye": EYE}
  if tune not in names:
    raise UsageError(f"tune {tune!r}: expected {' or '.join(names)}")
  files = shipped()
  if names[tune] not in files:
    raise UsageError(
      f"tune {tune!r}: its weights are not shipped in this version of cae_jax ({_names(files)}); "
      "leave tune out"
    )
  return names[tune]


def tunes_for(tune: str | None, targets: Mapping[str, Any]) -> list[str]:
  """Returns what to tune a lossy file for, each if those before it cannot meet what is asked for.

  Args:
    tune: what was asked for; None for the default, which reaches from the eye's low rates to the
      small errors of the other.
    targets: what else is asked for, by name.
  """
  return list(dict.fromkeys([default_tune(targets), "psnr"])) if tune is None else [tune]


def lossy(
  tune: str | None, targets: Mapping[str, Any], load: Callable[[str], Any]
) -> list[Callable[[], Any]]:
  """Returns what loads the codecs of `tunes_for`; weights are looked for only then.

  Args:
    tune, targets: see `tunes_for`; beside the targets an effort may stand, see `check_effort`.
    load: makes a codec of a name of weights.
  """

  def of_tune(each: str) -> Any:
    check_effort(each, targets.get("effort"))
    return load(tuned(each))

  return [functools.partial(of_tune, each) for each in tunes_for(tune, targets)]


def check_effort(tune: str, effort: Any) -> None:
  """Raises UsageError for an effort of files for the eye, which need more bits by it."""
  if effort and tune == "eye":
    raise UsageError(
      f"effort {effort} lowers squared errors; files for the eye would need more bits to look "
      "the same; leave effort out, or give tune psnr"
    )


def tune_of(card: Mapping[str, Any]) -> str:
  """Returns what weights are tuned for, "psnr" or "eye", by the flags of their training."""
  return "eye" if card.get("flags", {}).get("distortion") == "--distortion=eye" else "psnr"


def find_for_file(model_id: str, model_hash: str) -> Path:
  """Finds the shipped weights that a .cae file was made with.

  Args:
    model_id, model_hash: of the file's header, the hash in hexadecimal digits.
  Raises:
    WeightsError: they are not among the shipped ones.
  """
  files = shipped()
  path = files.get(model_id)
  if path is not None and read_metadata(path)["hash"] == model_hash:
    return path
  other = "; its weights of that name are different ones" if path else ""
  raise WeightsError(
    f"the file was made with the weights {model_id!r} ({model_hash}), which do not come with this "
    f"version of cae_jax ({_names(files)}){other}; give their file with --weights"
  )


def _names(files: dict[str, Path]) -> str:
  return f"it has {', '.join(files)}" if files else "it has none"
