"""What a `cae` command costs that starts anew for one file, and on what it is spent.

  taskset -c 0 python -m tests.benchmarks.cold [--image=PHOTO] [--repeats=5]

Prints Markdown tables. Commands are run in turns, so that they can be compared where others use the
machine, too; CPU seconds (user and system) hardly depend on these, seconds by the clock do.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_CAE = [sys.executable, "-c", "import sys; from cae_jax.cli import main; sys.exit(main())"]
_PARTS = "--parts"


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--image", type=Path)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument(_PARTS, type=Path, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.parts:
    return _print_parts(args.parts)
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    image = args.image or _made_image(folder)
    _print_commands(_commands(folder, image), args.repeats)
    # In a process of its own: this one has imported what it measures.
    command = [sys.executable, "-m", "tests.benchmarks.cold", f"{_PARTS}={folder / 'lossy.cae'}"]
    subprocess.run(command, check=True)
  return 0


def _made_image(folder: Path) -> Path:
  from cae_jax.images.files import write_image
  from tests.benchmarks.codec import picture

  write_image(folder / "image.png", picture(512, 768))
  return folder / "image.png"


def _commands(folder: Path, image: Path) -> dict[str, Callable[[], object]]:
  """The commands by what the table calls them."""
  cache = str(folder / "cache")

  def cae(*words: object, kept: str = cache) -> Callable[[], object]:
    command = [*_CAE, *map(str, words), "--force"]
    env = {**os.environ, "CAE_JAX_CACHE_DIR": kept}
    return lambda: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)

  lossy, lossless = folder / "lossy.cae", folder / "lossless.cae"
  return {
    '`python -c "import jax"`': lambda: subprocess.run([sys.executable, "-c", "import jax"]),
    "`cae compress`": cae("compress", image, lossy, "--bpp=0.3"),
    "`cae compress`, the first time": cae("compress", image, lossy, "--bpp=0.3", kept=""),
    "`cae decompress`": cae("decompress", lossy, folder / "a.png"),
    "`cae decompress`, the first time": cae("decompress", lossy, folder / "a.png", kept=""),
    "`cae compress --lossless`": cae("compress", image, lossless, "--lossless"),
    "`cae decompress`, lossless": cae("decompress", lossless, folder / "b.png"),
  }


def _print_commands(commands: dict[str, Callable[[], object]], repeats: int) -> None:
  found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
  for turn in range(repeats + 1):
    for name, run in commands.items():
      measured = _measured(run)
      if turn:  # the first one compiles, and reads what others find in memory
        found[name].append(measured)
  load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
  print(f"Medians of {repeats}; load of the machine {load} on {os.cpu_count()} cores.\n")
  print("| | CPU seconds | least, most | by the clock |\n|---|---|---|---|")
  for name, both in found.items():
    cpu, wall = zip(*both)
    spread = f"{min(cpu):.2f}, {max(cpu):.2f}"
    print(
      f"| {name} | {statistics.median(cpu):.2f} | {spread} | {statistics.median(wall):.2f} |",
      flush=True,
    )


def _measured(run: Callable[[], object]) -> tuple[float, float]:
  """CPU seconds of child processes while something runs, and seconds by the clock."""
  before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
  run()
  wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
  return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def _print_parts(path: Path) -> int:
  """Does what `cae decompress` does, part by part."""
  times = [0.0, time.process_time()]
  names = ["Python"]

  def done(name: str) -> None:
    times.append(time.process_time())
    names.append(name)

  from cae_jax import cli, console  # noqa: F401

  done("imports of `cae`, NumPy among them")
  with console.few_collections():
    from cae_jax import codec
    from cae_jax.codec import decoding, windows
    from cae_jax.codec.coders import context  # noqa: F401
    from cae_jax.coding.bitstream import unpack
    from cae_jax.images.writing import encode_image
    from cae_jax.weights import load_weights
    from cae_jax.weights.shipped import find_for_file

    done("importing the codec")
    container = unpack(path.read_bytes())
    header = container.header
    weights = load_weights(find_for_file(header.model_id, header.model_hash.hex()))
    done("reading weights, and their hash")
    coder = codec.from_weights(weights).coder
    done("tables, networks")
    file = decoding._LossyFile(coder, container)
    plan = windows.plan(coder, file.positions, (slice(0, file.height), slice(0, file.width)))
    y_hat, _ = file.latents(plan.seen, False)
    done("passes and entropy decoding")
    image = windows.synthesise_area(coder, y_hat, file.rate_level, plan)
    done("synthesis")
    encode_image(Path("a.png"), image)
    done("PNG")
    assert "jax" not in sys.modules
  print("\n| part of `cae decompress` | CPU seconds |\n|---|---|")
  for name, start, end in zip(names, times, times[1:]):
    print(f"| {name} | {end - start:.3f} |")
  return 0


if __name__ == "__main__":
  sys.exit(main())
