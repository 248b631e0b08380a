"""What was done with a file, in words and for programs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cae_jax.codec.info import Info
from cae_jax.coding.bitstream import Kind
from cae_jax.streams import Place, name_of

SUFFIX = ".cae"
KINDS = {
  Kind.GREY: "grey",
  Kind.GREY_ALPHA: "grey with alpha",
  Kind.RGB: "RGB",
  Kind.RGBA: "RGBA",
  Kind.GREY_16: "grey of 16 bits",
  Kind.GREY_ALPHA_16: "grey of 16 bits with alpha",
  Kind.RGB_16: "RGB of 16 bits",
  Kind.RGBA_16: "RGBA of 16 bits",
}


@dataclasses.dataclass(frozen=True)
class Result:
  """What was done with a file.

  Attributes:
    words: for people, one line or more.
    fields: for programs, ready for JSON; docs/command-line.md describes them.
  """

  words: str
  fields: Mapping[str, Any]


# Does something with a source, and makes the target of it, if there is one.
Command = Callable[[Place, Any], Result]


def result(
  source: Place, target: Place, what: str, notes: Sequence[str], content: Info, **more: Any
) -> Result:
  """What was done with a source, of which the .cae file has a content, and more that is known."""
  words = "; ".join([f"{name_of(source)} -> {name_of(target)}: {what}", *notes])
  return Result(words, {**fields(content), **more, "notes": list(notes)})


def fields(content: Info) -> dict[str, Any]:
  """The content of a .cae file, ready for JSON."""
  return {
    **dataclasses.asdict(content),
    "kind": content.kind.name.lower(),
    "quality": content.quality,
    "rate_bpp": content.rate_bpp,
  }
