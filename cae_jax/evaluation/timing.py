"""How long codecs take, and how much memory: all of them side by side in one run.

Every codec is brought to about one file size. *Warm* is a second and later call in a process that
has everything loaded; the codecs take turns, so that whatever else the machine does meets all of
them alike. *Cold* is a process of its own for each call, from its start to its result; what of
that is Python and its libraries shows in a process that then does nothing.
"""

import dataclasses
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from cae_jax.atomic import write_text
from cae_jax.errors import UsageError
from cae_jax.evaluation import comparison, measuring
from cae_jax.evaluation.codecs import own_codec
from cae_jax.evaluation.codecs.base import CodecError, ImageCodec, Missing
from cae_jax.evaluation.comparison import Comparison
from cae_jax.evaluation.names import is_baseline, label
from cae_jax.evaluation.rd.tables import Table
from cae_jax.evaluation.records import OK, Setting
from cae_jax.evaluation.tables import markdown
from cae_jax.models import Model, build_model
from cae_jax.models.macs import macs_per_pixel
from cae_jax.paths import make_folder

_HEAD = (
  "codec", "setting", "bpp", "encode, s", "decode, s", "cold encode, s", "cold decode, s",
  "encode, MiB", "decode, MiB", "kMAC a pixel",
)  # fmt: skip
_NOTHING = "nothing"


@dataclasses.dataclass(frozen=True)
class Timing:
  """What one codec took for one image.

  Attributes:
    codec, version: as in a record.
    setting: at which its file is nearest to the common size from below.
    rate_bpp: of the file.
    encode_s, decode_s: of every warm call.
    cold_encode_s, cold_decode_s: of every process that did nothing else, start to end.
    encode_mib, decode_mib: largest memory of these processes; of a codec that runs programs, the
      larger of the process's and theirs.
    encoder_kmac, decoder_kmac: thousands of MACs a pixel of our networks; None of others.
  """

  codec: str
  version: str = ""
  setting: Setting | None = None
  rate_bpp: float | None = None
  encode_s: Sequence[float] = ()
  decode_s: Sequence[float] = ()
  cold_encode_s: Sequence[float] = ()
  cold_decode_s: Sequence[float] = ()
  encode_mib: float | None = None
  decode_mib: float | None = None
  encoder_kmac: float | None = None
  decoder_kmac: float | None = None


def measure(
  what: Comparison, x_uint8: np.ndarray, repeats: int = 7, cold_repeats: int = 3
) -> list[Timing]:
  """Times our codec and the baselines on an image; says which could not be, and why.

  Args:
    what: the codecs.
    x_uint8: uint8 [H, W, 3]; the baselines are brought to the size of our file of it.
    repeats, cold_repeats: calls and processes of each kind.
  Returns:
    One for each codec, and before them one of a process that does nothing.
  """
  codec = comparison.own(what)
  files = _files(codec, comparison.others(what), x_uint8)
  warm = _warm(files, x_uint8, repeats)
  network = build_model(codec.weights.config)
  assert isinstance(network, Model)
  encoder, decoder = macs_per_pixel(network)
  height, width, _ = x_uint8.shape
  result = [Timing(_NOTHING, **_cold_pair(what, _NOTHING, (None,), (None,), cold_repeats))]
  for each, setting, data in tqdm.tqdm(files, desc="cold", unit="codec"):
    ours = each.name == codec.weights.name
    result.append(
      Timing(
        codec=each.name,
        version=each.version,
        setting=setting,
        rate_bpp=8 * len(data) / (height * width),
        encode_s=warm[each.name, "encode"],
        decode_s=warm[each.name, "decode"],
        **_cold_pair(what, each.name, (x_uint8, setting), (data,), cold_repeats),
        encoder_kmac=encoder / 1e3 if ours else None,
        decoder_kmac=decoder / 1e3 if ours else None,
      )
    )
  return result


def _files(codec, others, x_uint8) -> list[tuple[ImageCodec, Setting, bytes]]:
  """Ours, and every baseline that is here at about its size."""
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  data = ours.encode(x_uint8, setting)
  result: list[tuple[ImageCodec, Setting, bytes]] = [(ours, setting, data)]
  for other in others:
    if isinstance(other, Missing):
      print(f"{label(other.name)}: {other.status}")
      continue
    match = measuring.match_size(other, x_uint8, len(data))
    if match.status != OK:
      print(f"{label(other.name)}: {match.status}")
    result.append((other, match.setting, match.data))
  return result


def _warm(files, x_uint8, repeats: int) -> dict[tuple[str, str], list[float]]:
  """Seconds by codec and kind of work, in rounds of all codecs; the first does not count."""
  result: dict[tuple[str, str], list[float]] = {}
  for number in tqdm.trange(repeats + 1, desc="warm", unit="round"):
    for codec, setting, data in files:
      start = time.perf_counter()
      codec.encode(x_uint8, setting)
      middle = time.perf_counter()
      codec.decode(data)
      end = time.perf_counter()
      for work, seconds in (("encode", middle - start), ("decode", end - middle)):
        result.setdefault((codec.name, work), []).extend([seconds] if number else [])
  return result


def _cold_pair(what, name: str, encoding: tuple, decoding: tuple, repeats: int) -> dict[str, Any]:
  """The cold fields of a `Timing`."""
  result: dict[str, Any] = {}
  for work, arguments in (("encode", encoding), ("decode", decoding)):
    done = [_cold(what, name, work, arguments) for _ in range(repeats)]
    result[f"cold_{work}_s"] = [seconds for seconds, _ in done]
    result[f"{work}_mib"] = max(mib for _, mib in done)
  return result


def _cold(what, name: str, work: str, arguments: tuple) -> tuple[float, float]:
  """Seconds and MiB of a process that does one thing."""
  context = multiprocessing.get_context("spawn")
  here, there = context.Pipe()
  start = time.monotonic()  # one clock for all processes
  process = context.Process(target=_child, args=(there, what, name, work, arguments))
  process.start()
  there.close()
  try:
    end, mib = here.recv()
  except EOFError:
    raise CodecError(f"{name}: a process that was to {work} an image died") from None
  finally:
    process.join()
  return end - start, mib


def _child(connection, what, name: str, work: str, arguments: tuple) -> None:
  if name != _NOTHING:
    if is_baseline(name):
      [codec] = comparison.others(dataclasses.replace(what, codecs=name))
    else:
      codec = own_codec.coded(comparison.own(what))
    getattr(codec, work)(*arguments)
  connection.send((time.monotonic(), _peak_mib()))


def _peak_mib() -> float:
  """Largest memory of this process, or of a program it ran if that is larger."""
  scale = 2**20 if sys.platform == "darwin" else 2**10
  programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale
  try:  # ru_maxrss of a process begins with its parent's on Linux
    status = Path("/proc/self/status").read_text()
    own = int(status.split("VmHWM:")[1].split()[0]) / 2**10
  except OSError:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
  return max(own, programs)


def write(folder: str | PathLike, timings: Sequence[Timing], image: str, size: str) -> str:
  """Writes timing.json and timing.md into a folder; returns the Markdown.

  Args:
    folder: is made if need be.
    timings: of `measure`.
    image, size: what it was measured on, in words.
  """
  folder = Path(folder)
  make_folder(folder)
  content = {"image": image, "size": size, "hardware": hardware()}
  rows = [dataclasses.asdict(timing) for timing in timings]
  text = f"{_words(content)}\n\n{markdown(_HEAD, map(_row, timings))}"
  for name, body in (
    ("timing.json", json.dumps({**content, "timings": rows}, indent=2)),
    ("timing.md", text),
  ):
    write_text(folder / name, body + "\n")
  return text


def hardware() -> str:
  """Describes this machine in words."""
  device = jax.devices()[0]
  what = "CPU" if device.platform == "cpu" else device.device_kind
  return f"{_processor()}, {os.cpu_count()} CPU cores, JAX {jax.__version__} on {what}"


def _processor() -> str:
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def read(path: str | PathLike) -> Table:
  """Reads the timing.json of a `write`.

  Raises:
    UsageError: the file is something else.
  """
  try:
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    rows = [_row(Timing(**timing)) for timing in content["timings"]]
    return Table("Times", _words(content), _HEAD, rows)
  except (ValueError, KeyError, TypeError) as error:
    raise UsageError(f"{path}: expected a timing.json of experiments.timing ({error!r})") from error


def _words(content: Mapping[str, Any]) -> str:
  where = f"{content['image']}, {content['size']}; {content['hardware']}"
  return f"{where}. Medians, and the fastest and slowest."


def _row(t: Timing) -> tuple[str, ...]:
  kmac = "" if t.encoder_kmac is None else f"{t.encoder_kmac:.1f} + {t.decoder_kmac:.1f}"
  return (
    "Python and libraries alone" if t.codec == _NOTHING else label(t.codec),
    "" if t.setting is None else str(t.setting),
    "" if t.rate_bpp is None else f"{t.rate_bpp:.3f}",
    *map(_spread, (t.encode_s, t.decode_s, t.cold_encode_s, t.cold_decode_s)),
    *("" if mib is None else f"{mib:.0f}" for mib in (t.encode_mib, t.decode_mib)),
    kmac,
  )


def _spread(seconds: Sequence[float]) -> str:
  if not seconds:
    return ""
  return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
