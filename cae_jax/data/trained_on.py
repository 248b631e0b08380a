"""Which images weights were trained on, as far as their card tells, so that none is tested on."""

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

_KEY = "trained_on"
# An image not trained on is taken for one of N that were with a probability of N / 2^48.
_DIGEST_BYTES = 6
# 400 kB of a weights file's header.
LISTED = 50_000


@dataclasses.dataclass(frozen=True)
class TrainedOn:
  """The images that weights were trained on.

  Attributes:
    digests: first bytes of their `pixel_digest`.
    names: of images of which only the names are known, from cards of older versions.
    unlisted: how many images were too many to be listed.
  """

  digests: frozenset[bytes] = frozenset()
  names: frozenset[str] = frozenset()
  unlisted: int = 0

  @classmethod
  def of(cls, digests: Iterable[bytes]) -> "TrainedOn":
    """Lists images by their `pixel_digest`."""
    return cls(frozenset(digest[:_DIGEST_BYTES] for digest in digests))

  @classmethod
  def from_card(cls, card: Mapping[str, Any]) -> "TrainedOn":
    """Reads what a weights' card tells; nothing if it is silent."""
    entry = card.get(_KEY, {})
    if isinstance(entry, list):
      return cls(names=frozenset(entry))
    data = base64.b64decode(entry.get("digests", ""))
    starts = range(0, len(data), _DIGEST_BYTES)
    return cls(
      digests=frozenset(data[start : start + _DIGEST_BYTES] for start in starts),
      names=frozenset(entry.get("names", ())),
      unlisted=entry.get("unlisted", 0),
    )

  def to_card(self) -> dict[str, Any]:
    """Returns the card's entry, JSON-able; beyond `LISTED` images only their number is kept."""
    if len(self.digests) > LISTED:
      return dataclasses.replace(self, digests=frozenset(), unlisted=self._count()).to_card()
    entry = {
      "digests": base64.b64encode(b"".join(sorted(self.digests))).decode(),
      "names": sorted(self.names),
      "unlisted": self.unlisted,
    }
    return {_KEY: {key: value for key, value in entry.items() if value}}

  def __or__(self, other: "TrainedOn") -> "TrainedOn":
    return TrainedOn(
      self.digests | other.digests, self.names | other.names, self.unlisted + other.unlisted
    )

  def has(self, name: str, digest: bytes) -> bool:
    """Tells whether an image is listed: by its pixels, or by a name of an older card."""
    return digest[:_DIGEST_BYTES] in self.digests or name in self.names

  def _count(self) -> int:
    return len(self.digests) + self.unlisted
