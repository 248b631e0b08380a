"""One record per codec, setting and image: the row of every table, and its JSON lines file."""

import dataclasses
import gzip
import json
import math
import pathlib
import statistics
import zlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from cae_jax.atomic import write_text
from cae_jax.errors import UsageError
from cae_jax.images import metrics
from cae_jax.paths import make_folder

Setting = int | float | str
OK = "ok"
_AVERAGED = (
  "rate_bpp",
  "bpsp",
  "psnr_db",
  "psnr_db_at_target",
  "psnr_y_db",
  "mse",
  "mse_variance",
  "mse_bias_squared",
  "ms_ssim",
  "ssimulacra2",
  "butteraugli_3norm",
  "butteraugli_max",
  "dists",
  "wasserstein",
  "kid",
  "encode_s",
  "decode_s",
)


@dataclasses.dataclass(frozen=True)
class Record:
  """What one codec made of one image, measured on the real file.

  In JSON an infinite PSNR (decoded without loss) is null: of a record with an `mse`, a null PSNR
  reads back as inf (that of luma only of RGB, as others have none). A record without figures has
  null for all of them and says why in `status`.

  Attributes:
    codec: name of the codec, as in `--codecs`.
    setting: the codec's own quality setting.
    image: name of the image.
    width, height: in pixels.
    size_bytes: the whole file.
    rate_bpp: bits of the file per pixel.
    psnr_db, psnr_y_db: of all samples, and of the luma of RGB, after rounding to integers; the peak
      is 2 ** bits - 1.
    mse, mse_variance, mse_bias_squared: squared levels; the first is the sum of the other two.
    ms_ssim: None if the image is too small for it.
    encode_s, decode_s: wall time; for programs it includes their start and their image files.
    version: of the encoder and decoder, with the options that are always on.
    matched_to: the codec whose file size this row was to match; None for a fixed setting.
    matched_setting, target_bytes: that codec's setting, and the size to match.
    psnr_db_at_target: what the codec would have at exactly that size: between this file and its
      next larger one, linear in the logarithm of the size. A codec's settings can be coarse (one
      step of QP is 12 % of a file), and the largest file that fits is then too small to compare.
    status: "ok", or why there is no figure and how to get the codec, or why the size was not met.
    dataset: name of the data set, where several are in one file; empty otherwise.
    channels, bits: of the image; bits are those that the samples need, 8 or 9 to 16.
    bpsp: bits of the file per sub-pixel: per sample of a channel.
    max_error: the largest difference of a decoded sample, in levels.
    error_bound: the largest that the codec was allowed, 0 for lossless; None of lossy codecs. A
      record that exceeded it has no figures.
    ssimulacra2, butteraugli_3norm, butteraugli_max: where they were asked for (`perceptual`), of
      8-bit RGB; of Butteraugli less is better.
    digest: hexadecimal start of the SHA-256 of the image's samples, to tell it from others.
    dists, wasserstein: where they were asked for, of 8-bit RGB; less is better.
    decoded_digest: as `digest`, of the decoded picture, where its features were kept for `kid`.
    kid: of all images at this codec and setting at once, the same in each record of them
      (`set_metrics`); less is better.
  """

  codec: str
  setting: Setting | None
  image: str | None
  width: int | None = None
  height: int | None = None
  size_bytes: int | None = None
  rate_bpp: float | None = None
  psnr_db: float | None = None
  psnr_y_db: float | None = None
  mse: float | None = None
  mse_variance: float | None = None
  mse_bias_squared: float | None = None
  ms_ssim: float | None = None
  encode_s: float | None = None
  decode_s: float | None = None
  version: str = ""
  matched_to: str | None = None
  matched_setting: Setting | None = None
  target_bytes: int | None = None
  psnr_db_at_target: float | None = None
  status: str = OK
  dataset: str = ""
  channels: int | None = None
  bits: int | None = None
  bpsp: float | None = None
  max_error: int | None = None
  error_bound: int | None = None
  digest: str = ""
  ssimulacra2: float | None = None
  butteraugli_3norm: float | None = None
  butteraugli_max: float | None = None
  dists: float | None = None
  wasserstein: float | None = None
  decoded_digest: str | None = None
  kid: float | None = None

  @property
  def ok(self) -> bool:
    """Whether the record has figures and stands for what it was asked for."""
    return self.status == OK


def to_json(record: Record) -> str:
  """Returns one line of records.jsonl, without the newline."""
  return json.dumps(_finite(dataclasses.asdict(record)), allow_nan=False)


def from_json(line: str) -> Record:
  """Reads a line of `to_json`; unknown fields are left out, so that older code can read it.

  Raises:
    ValueError: the line is not a JSON object, or lacks `codec`, `setting` or `image`.
  """
  fields = json.loads(line)
  required = {"codec", "setting", "image"}
  if not isinstance(fields, dict) or not required <= fields.keys():
    raise ValueError(f"expected a JSON object with {sorted(required)}, got {line[:80]!r}")
  known = {field.name for field in dataclasses.fields(Record)}
  record = Record(**{name: value for name, value in fields.items() if name in known})
  if record.mse is None:
    return record
  has_luma = record.channels in (None, 3)
  return dataclasses.replace(
    record,
    psnr_db=math.inf if record.psnr_db is None else record.psnr_db,
    psnr_y_db=math.inf if record.psnr_y_db is None and has_luma else record.psnr_y_db,
  )


def write_records(path: str | PathLike, records: Iterable[Record]) -> None:
  """Writes a records.jsonl, whole or not at all; the folder is made if need be."""
  path = pathlib.Path(path)
  make_folder(path.parent)
  write_text(path, "".join(to_json(r) + "\n" for r in records))


def append_record(path: str | PathLike, record: Record) -> None:
  """Adds one line; after a crash only the last line can be broken (see `resume_records`)."""
  with open(path, "a", encoding="utf-8") as file:
    file.write(to_json(record) + "\n")


def read_records(path: str | PathLike) -> list[Record]:
  """Reads a records.jsonl, or a records.jsonl.gz.

  Raises:
    UsageError: a line is not a record, and the message names the line; or a compressed file is
      damaged.
  """
  data = pathlib.Path(path).read_bytes()
  if str(path).endswith(".gz"):
    try:
      data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
      raise UsageError(f"{path}: no whole gzip file ({error}); get it again") from error
  lines = data.decode("utf-8", errors="replace").splitlines()
  records = []
  for number, line in enumerate(lines, start=1):
    try:
      records.append(from_json(line))
    except ValueError as error:
      raise UsageError(f"{path}, line {number}: {error}") from error
  return records


def resume_records(path: str | PathLike) -> list[Record]:
  """Reads the records to go on from: those with figures, of a file that may end half-way.

  A last line without its newline (a run ended while writing) is dropped, and so are rows without
  figures, since the missing codec may be there by now. Of what was measured twice (for one more
  metric) the last is kept. The file is rewritten to match.

  Returns:
    Records; empty if there is no file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return []
  text = path.read_text(encoding="utf-8")
  whole = text[: text.rfind("\n") + 1]
  write_text(path, whole)
  found = [record for record in read_records(path) if record.mse is not None]
  kept = last_measured(found)
  write_records(path, kept)
  return kept


def last_measured(records: Iterable[Record]) -> list[Record]:
  """Returns of what was measured twice the last record, where that one stands."""
  found: dict[tuple, Record] = {}
  for record in records:
    key = record.dataset, *measurement_of(record)
    found.pop(key, None)
    found[key] = record
  return list(found.values())


def joined(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
  """Joins to records those of other runs that have figures.

  The others stand first: of what both measured, and of two versions of a codec, `records` count.
  """
  return last_measured([*(other for other in others if other.mse is not None), *records])


def with_earlier(record: Record, earlier: Record | None) -> Record:
  """Fills in what an earlier record of the very same file has beyond this one: other metrics."""
  if earlier is None or _file_of(record) != _file_of(earlier):
    return record
  lacking = {name: value for name, value in vars(earlier).items() if getattr(record, name) is None}
  return dataclasses.replace(record, **lacking)


def of_last_versions(records: Sequence[Record]) -> list[Record]:
  """Returns each codec's records of the last version that has any, and those without a version.

  Of weights of one rate each, which share a name, the last version of every setting counts, so
  that they make one curve. Records that were to match a file of a codec that is among these count
  if that file does, by its size.
  """
  settings: dict[tuple[str, str], set[Setting | None]] = {}
  for record in records:
    if record.version and record.matched_to is None:
      settings.setdefault((record.codec, record.version), set()).add(record.setting)
  # Settings of weights of one rate are words, those of baselines numbers.
  one_word = lambda found: len(found) == 1 and all(isinstance(setting, str) for setting in found)
  swept = {codec for (codec, _), found in settings.items() if not one_word(found)}
  key = lambda r: (r.codec, None if r.codec in swept or r.matched_to is not None else r.setting)
  last = {key(record): record.version for record in records if record.version}
  kept = [r for r in records if not r.version or r.version == last[key(r)]]
  files = {(r.codec, r.setting, r.image, r.size_bytes) for r in kept if r.matched_to is None}
  measured = {codec for codec, *_ in files}
  goal = lambda r: (r.matched_to, r.matched_setting, r.image, r.target_bytes)
  return [r for r in kept if r.matched_to not in measured or goal(r) in files]


def summary(records: Sequence[Record]) -> dict[str, Any]:
  """Averages over the images, for each codec and setting, ready for JSON.

  Both ways to average PSNR are given, since they differ: `mean_psnr_db` is the mean of the images'
  PSNRs, `psnr_of_mean_mse_db` the PSNR of the mean MSE (they are named so in every table). Infinite
  values are None, as in a record.

  Args:
    records: any; rows whose status is not "ok" are counted, not averaged.
  Returns:
    {codec: [group, …]}; one group for each fixed setting, and one for each codec and setting the
    sizes were matched to (its own `setting` is None then, as it differs from image to image). A
    group holds setting, matched_to, matched_setting, version, n_images, n_failed, status (the
    failures' reasons), and the means; a mean that is not defined on every image is None.
  """
  groups: dict[tuple, list[Record]] = {}
  for record in records:
    groups.setdefault(group_of(record), []).append(record)
  result: dict[str, Any] = {}
  for (codec, *_), members in groups.items():
    result.setdefault(codec, []).append(_finite(_summarize(members)))
  return result


def write_summary(
  path: str | PathLike, records: Sequence[Record], extra: Mapping[str, Any] | None = None
) -> None:
  """Writes `summary` as JSON, whole or not at all.

  Args:
    path: the file.
    records: any.
    extra: further entries beside the codecs', ready for JSON.
  """
  fields = summary(records) | dict(extra or {})
  write_text(path, json.dumps(fields, indent=2, allow_nan=False) + "\n")


def measurement_of(record: Record) -> tuple:
  """Names what a record measures within its data set; a second one of this name is the same."""
  if record.matched_to is None:
    return record.codec, record.setting, record.image, record.version, None
  goal = (record.matched_to, record.matched_setting, record.target_bytes)
  return record.codec, None, record.image, record.version, goal


def group_of(record: Record) -> tuple:
  """Names what a record is averaged with: one codec and setting, or size that was matched."""
  if record.matched_to is None:
    return record.codec, record.setting, None, None
  return record.codec, None, record.matched_to, record.matched_setting


def _file_of(record: Record) -> tuple:
  return measurement_of(record), record.setting, record.digest, record.size_bytes, record.mse


def _summarize(members: Sequence[Record]) -> dict[str, Any]:
  first, good = members[0], [record for record in members if record.ok]
  result: dict[str, Any] = {
    "setting": first.setting if first.matched_to is None else None,
    "matched_to": first.matched_to,
    "matched_setting": first.matched_setting,
    "version": "; ".join(dict.fromkeys(record.version for record in members)),
    "n_images": len(good),
    "n_failed": len(members) - len(good),
    "status": "; ".join(dict.fromkeys(record.status for record in members if not record.ok)) or OK,
  }
  if not good:
    return result
  means = {f"mean_{name}": _mean(good, name) for name in _AVERAGED}
  return result | means | {"psnr_of_mean_mse_db": metrics.psnr_from_mse(means["mean_mse"])}


def _mean(records: Sequence[Record], name: str) -> float | None:
  values = [getattr(record, name) for record in records]
  return None if None in values else statistics.fmean(values)


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
  """JSON has no infinity: None instead."""
  return {
    name: None if isinstance(value, float) and math.isinf(value) else value
    for name, value in fields.items()
  }
