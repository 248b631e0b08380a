"""How codecs stand on each data set: bits per sub-pixel, against one of them, and times."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from cae_jax.evaluation.names import in_order
from cae_jax.evaluation.records import Record, of_last_versions

REFERENCE = "jxl_e9"


@dataclasses.dataclass(frozen=True)
class Standing:
  """One codec at one error bound on one data set.

  Attributes:
    dataset, codec, error_bound: which; a bound of 0 is lossless.
    n_images: measured; the means are over these.
    n_left_out: images that the codec does not take or failed on.
    bpsp: mean of the images' bits per sub-pixel, of whole files.
    n_compared: images that the reference has, too; what follows is of these.
    percent: the codec's mean bpsp over the reference's, less one; negative means smaller files.
      None if there is no image of both.
    n_smaller: images of which the codec's file is smaller than the reference's.
    n_smallest: images of the set of which no codec at this bound has a smaller file.
    psnr_db: mean over the images; None if one is exact.
    encode_s, decode_s: means over the images; None where one has no time.
  """

  dataset: str
  codec: str
  error_bound: int
  n_images: int
  n_left_out: int
  bpsp: float
  n_compared: int
  percent: float | None
  n_smaller: int
  n_smallest: int
  psnr_db: float | None
  encode_s: float | None
  decode_s: float | None


def standings(records: Sequence[Record], reference: str = REFERENCE) -> list[Standing]:
  """Sums up records of codecs that keep a bound.

  Args:
    records: any; others are passed over, and of each codec the last version on a set counts.
    reference: name of the codec that the others are compared with, at the same bound.
  Returns:
    In the order of the data sets in the records, of the bounds, and of the codecs' names.
  """
  result = []
  for dataset in datasets(records):
    of_set = of_last_versions([r for r in records if r.dataset == dataset])
    bounds = sorted({r.error_bound for r in of_set if r.error_bound is not None})
    for bound in bounds:
      rows = [r for r in of_set if r.error_bound == bound]
      result += _at_bound(dataset, bound, rows, reference)
  return result


def datasets(records: Sequence[Record]) -> list[str]:
  """Lists the data sets that codecs with a bound were measured on, in the order of the records."""
  return list(dict.fromkeys(r.dataset for r in records if r.error_bound is not None))


def sizes(records: Sequence[Record]) -> dict[str, dict[str, float]]:
  """Returns bits per sub-pixel by codec and image, of records of one set and bound."""
  result: dict[str, dict[str, float]] = {name: {} for name in in_order(r.codec for r in records)}
  for record in records:
    if record.ok and record.bpsp is not None:
      result[record.codec][record.image or ""] = record.bpsp
  return {codec: found for codec, found in result.items() if found}


def to_json(rows: Sequence[Standing]) -> dict[str, list[dict]]:
  """Returns standings by data set, ready for JSON."""
  result: dict[str, list[dict]] = {}
  for row in rows:
    fields = dataclasses.asdict(row)
    result.setdefault(fields.pop("dataset"), []).append(fields)
  return result


def _at_bound(dataset: str, bound: int, rows: Sequence[Record], reference: str) -> list[Standing]:
  by_codec = sizes(rows)
  least: dict[str, float] = {}
  for found in by_codec.values():
    least |= {image: min(value, least.get(image, value)) for image, value in found.items()}
  result = []
  for codec, bpsp in by_codec.items():
    members = [r for r in rows if r.codec == codec]
    good = [r for r in members if r.ok]
    n_compared, percent, n_smaller = _against(bpsp, by_codec.get(reference, {}))
    result.append(
      Standing(
        dataset=dataset,
        codec=codec,
        error_bound=bound,
        n_images=len(bpsp),
        n_left_out=len(members) - len(good),
        bpsp=statistics.fmean(bpsp.values()),
        n_compared=n_compared,
        percent=percent,
        n_smaller=n_smaller,
        n_smallest=sum(value == least[image] for image, value in bpsp.items()),
        psnr_db=_mean([r.psnr_db if r.max_error else None for r in good]),
        encode_s=_mean([r.encode_s for r in good]),
        decode_s=_mean([r.decode_s for r in good]),
      )
    )
  return result


def _against(
  ours: Mapping[str, float], theirs: Mapping[str, float]
) -> tuple[int, float | None, int]:
  """Images of both, percent of the mean over these, images where ours is smaller."""
  common = ours.keys() & theirs.keys()
  if not common:
    return 0, None, 0
  ratio = sum(ours[image] for image in common) / sum(theirs[image] for image in common)
  return len(common), 100 * (ratio - 1), sum(ours[i] < theirs[i] for i in common)


def _mean(values: Sequence[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return statistics.fmean(known) if known and len(known) == len(values) else None
