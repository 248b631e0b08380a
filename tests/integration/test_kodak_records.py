"""The figures of the README and of docs/performance.md are those of docs/records/kodak.jsonl.gz."""

import functools
from pathlib import Path

import pytest

from cae_jax.evaluation.names import LABELS
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.rd.bd_rates import BdRate, bd_rate
from cae_jax.evaluation.rd.curves import between, measured_curve
from cae_jax.evaluation.records import read_records

ROOT = Path(__file__).parents[2]
RECORDS = read_records(ROOT / "docs" / "records" / "kodak.jsonl.gz")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
CODECS = {label: name for name, label in LABELS.items()}
METRICS = {
  "PSNR": "psnr_db",
  "MS-SSIM": "ms_ssim_db",
  "SSIMULACRA2": "ssimulacra2",
  "Butteraugli, 3-norm": "butteraugli_3norm",
  "Butteraugli 3-norm": "butteraugli_3norm",
}


def table(text: str, *head: str) -> list[dict[str, str]]:
  """The rows of the first Markdown table whose head begins so; an empty first cell goes on."""
  lines = iter(text.splitlines())
  for line in lines:
    if (cells := _cells(line))[: len(head)] == list(head):
      break
  columns, rows = cells, []
  next(lines)
  for line in lines:
    if not line.startswith("|"):
      break
    rows.append(dict(zip(columns, _cells(line), strict=True)))
    rows[-1][columns[0]] = rows[-1][columns[0]] or rows[-2][columns[0]]
  return rows


def _cells(line: str) -> list[str]:
  return [cell.strip() for cell in line.strip().strip("|").split("|")]


@functools.cache
def compared(test: str, anchor: str, metric: str, *bpp_range: float) -> BdRate:
  curves = [measured_curve(RECORDS, codec, metric) for codec in (test, anchor)]
  return bd_rate(*(between(c, *bpp_range) if bpp_range else c for c in curves))


def in_words(percent: float) -> str:
  return f"{percent:+.1f} %"


def interval(result: BdRate) -> str:
  return "{:.1f} to {:.1f}".format(*result.interval_percent)


def test_records_are_of_the_photographs_and_have_all_metrics():
  assert {record.image for record in RECORDS} == {*published.KODAK_IMAGES}
  for record in RECORDS:
    fields = record.psnr_y_db, record.ms_ssim, record.ssimulacra2, record.butteraugli_3norm
    assert None not in fields
    assert record.rate_bpp == 8 * record.size_bytes / (record.width * record.height)


def first(row: dict[str, str]) -> str:
  return next(iter(row.values()))


@pytest.mark.parametrize("row", table(README, "`eye3` against", "AVIF tune=iq"), ids=first)
def test_readme_for_the_eye(row):
  (_, metric), *cells = row.items()
  for label, cell in cells:
    result = compared("eye3", CODECS[label], METRICS[metric], 0.1, 1)
    assert cell == f"{in_words(result.headline_percent)} ({interval(result)})", label


SMALL_ERRORS = {
  "BD-rate, PSNR": ("context2", "psnr_db"),
  "95 % interval": ("context2", "psnr_db"),
  "BD-rate, PSNR, effort 1": ("context2-effort1", "psnr_db"),
  "BD-rate, MS-SSIM": ("context2", "ms_ssim_db"),
  "PSNR of RGB, effort 0": ("context2", "psnr_db"),
  "of the mean curves": ("context2", "psnr_db"),
  "PSNR of RGB, effort 1": ("context2-effort1", "psnr_db"),
  "PSNR of luma, effort 0": ("context2", "psnr_y_db"),
  "MS-SSIM, effort 0": ("context2", "ms_ssim_db"),
}
BOTH = [row for text in (README, PERFORMANCE) for row in table(text, "`context2` against", "JPEG")]


@pytest.mark.parametrize("row", BOTH, ids=first)
def test_for_small_errors(row):
  (_, name), *cells = row.items()
  for label, cell in cells:
    codec, metric = SMALL_ERRORS[name]
    result = compared(codec, CODECS[label], metric)
    mean_curves = "mean curves" in name
    percent = result.mean_curve_percent if mean_curves else result.headline_percent
    assert cell == (interval(result) if "interval" in name else in_words(percent)), label


RANGES = table(PERFORMANCE, "`eye3` against", "bits per pixel")


@pytest.mark.parametrize("row", RANGES, ids=lambda row: " ".join([*row.values()][:2]))
def test_by_range_of_rates(row):
  (_, label), (_, rates), *cells = row.items()
  low, high = map(float, rates.split(" to "))
  for metric, cell in cells:
    result = compared("eye3", CODECS[label], METRICS[metric], low, high)
    assert cell == in_words(result.headline_percent), metric


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("vtm", "needs {:.1f} % more bits than VVC"),
    ("elic2022", "{:.1f} % more than ELIC"),
    ("hpcm-large", "{:.1f} % more than HPCM-Large"),
  ],
)
def test_published_curves(name, words):
  (anchor,) = published.load([name])
  result = bd_rate(measured_curve(RECORDS, "context2"), anchor)
  assert words.format(result.mean_curve_percent) in " ".join(README.split())


def test_what_effort_saves_and_costs():
  """At the five qualities that both were measured at."""
  settings = {r.setting for r in RECORDS if r.codec == "context2-effort1"}
  rows = [r for r in RECORDS if r.codec.startswith("context2") and r.setting in settings]
  curve = lambda codec, metric: measured_curve(rows, codec, metric)
  psnr, ms_ssim = (
    bd_rate(curve("context2-effort1", metric), curve("context2", metric)).headline_percent
    for metric in ("psnr_db", "ms_ssim_db")
  )
  assert -1.1 < psnr < -0.9
  assert 0.45 < ms_ssim < 0.65
  words = "about 1 % of the bits at equal PSNR (by MS-SSIM it costs half a per cent)"
  assert words in " ".join(README.split())
