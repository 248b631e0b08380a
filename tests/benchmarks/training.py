"""Measures the training step of the paper's network against its device and its data pipeline.

    python tests/benchmarks/training.py [--source_dir=KODAK] > training.md

Prints Markdown: the device's matrix-product peak; the operations of the network; time, patches a
second, share of the peak and compile time of the step by batch size; the pipeline beside the step;
and the slow paths the layers avoid. All of it on one device and in one run, so that the ratios hold
where the seconds do not; nothing else should be running. Several minutes on two cores.
"""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pipeline
from absl import app, flags
from jax.sharding import Mesh

from cae_jax.data import patches, sources
from cae_jax.evaluation.tables import markdown
from cae_jax.models.layers import UpsampleConv, max_pool_2x2
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.training import losses, sharding
from cae_jax.training.speed import matrix_flops_per_s
from cae_jax.training.state import create_state
from cae_jax.training.step import make_train_step

_DATASET = flags.DEFINE_string(
  "dataset", None, "Data set; kodak/paper with --source_dir, else sample_photos."
)
_SOURCE_DIR = flags.DEFINE_string("source_dir", None, "Folder of images or tar shards to read.")
_SPLIT = flags.DEFINE_string("split", "train", "Split of the data set.")
_PATCH_SIZE = flags.DEFINE_integer("patch_size", 64, "Side of patches, a multiple of 4.", 4)
_BATCH_SIZES = flags.DEFINE_list(
  "batch_sizes", ["1", "2", "4", "8", "16", "32"], "Of the step; the last serves all the rest."
)
_DTYPES = flags.DEFINE_list("compute_dtypes", ["float32", "bfloat16"], "Of the convolutions.")
_MATRIX_SIZES = flags.DEFINE_list(
  "matrix_sizes", [], "Sides tried for the peak; by default 512 to 2048 on CPU, else 4096 to 16384."
)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "About the time of each measurement.", lower_bound=0)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timings a median is taken of.", lower_bound=1)

_THREADS = 4  # the default of `training_patches`

Path = tuple[str, Callable[[Any, jax.Array], Any], Any, jax.Array]  # name, apply, params, x


def main(_) -> None:
  jax.config.update("jax_enable_compilation_cache", False)  # compile times are cold ones
  dtypes = [jnp.dtype(name) for name in _DTYPES.value]
  print(f"# Training step, {_PATCH_SIZE.value}x{_PATCH_SIZE.value} patches\n\n{hardware()}")
  peaks = report_peaks(dtypes)
  step_macs = report_operations()
  speeds = report_steps(dtypes, peaks, step_macs)
  report_pipeline(speeds)
  for dtype in dtypes:
    report_paths(dtype)


def hardware() -> str:
  device = jax.devices()[0]
  return (
    f"{device.platform.upper()} ({device.device_kind}), host {cpu_model()}, {os.cpu_count()} cores "
    f"(load at the start {os.getloadavg()[0]:.1f}); jax {jax.__version__}, "
    f"Python {platform.python_version()}; medians of {_REPEATS.value} timings."
  )


def cpu_model() -> str:
  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  return names[0] if names else platform.processor() or platform.machine()


def show(title: str, head: str, rows: list[list[str]], note: str) -> None:
  print(f"\n## {title}\n\n{note}\n\n{markdown(head.split('; '), rows)}", flush=True)


def median_s(run: Callable[[], Any]) -> float:
  """Median seconds of a call, warmed up.

  A timing spans as many calls as fit its share of `--seconds` and waits for the device only after
  the last, as training does.
  """
  jax.block_until_ready(run())
  calls = max(1, round(_SECONDS.value / _REPEATS.value / timing_s(run, 1)))
  return statistics.median(timing_s(run, calls) for _ in range(_REPEATS.value))


def timing_s(run: Callable[[], Any], calls: int) -> float:
  start = time.perf_counter()
  for _ in range(calls):
    result = run()
  jax.block_until_ready(result)
  return (time.perf_counter() - start) / calls


def normal(seed: int, shape: tuple[int, ...], dtype) -> jax.Array:
  return jax.random.normal(jax.random.key(seed), shape, dtype)


def report_peaks(dtypes: list) -> dict[Any, float]:
  """Prints the rates of matrix products and returns the best of each dtype, FLOP/s."""
  rows, peaks = [], {}
  for dtype in dtypes:
    rates = [matrix_flops_per_s(dtype, size, _SECONDS.value) for size in matrix_sizes()]
    peaks[dtype] = max(rates)
    rows.append([dtype.name, *(f"{rate / 1e9:.0f}" for rate in (*rates, peaks[dtype]))])
  sizes = "; ".join(f"side {size}" for size in matrix_sizes())
  note = "GFLOP/s of square products at JAX's default precision, which the convolutions have too."
  show("Matrix-product peak", f"dtype; {sizes}; peak", rows, note)
  return peaks


def matrix_sizes() -> list[int]:
  default = [512, 1024, 2048] if jax.default_backend() == "cpu" else [4096, 8192, 16384]
  return [int(size) for size in _MATRIX_SIZES.value] or default


def report_operations() -> int:
  """Prints the MACs of one patch and returns those of the step."""
  layers = convolution_macs()
  forward = sum(layers.values())
  # Backward is a product as big as the forward one for the kernels, and one more for the inputs,
  # but the first layer's: the image needs no gradient.
  step = 3 * forward - layers["analysis", "Conv_0"]
  rows = [
    [name, f"{macs / _PATCH_SIZE.value**2 / 1e3:.2f}", f"{2 * macs / 1e9:.4f}"]
    for name, macs in [("forward", forward), ("training step", step)]
  ]
  step_fn, *inputs = step_and_inputs(jnp.float32, 1)
  ratio = step_fn.lower(*inputs).cost_analysis()["flops"] / (2 * step)
  note = (
    "Convolutions alone, from the shapes of their kernels and outputs; 1 MAC = 2 FLOP. XLA's own "
    "count of the step before optimisation, with Adam and all that is element by element but "
    f"without what meets padding, is {ratio:.3f} times this at a batch of 1."
  )
  show("Operations of one patch", "pass; kMAC a pixel; GFLOP", rows, note)
  return step


def convolution_macs() -> dict[tuple[str, ...], int]:
  """MACs of each convolution by its name: every output position costs as much as its kernel."""
  x = jnp.zeros((1, _PATCH_SIZE.value, _PATCH_SIZE.value, 3))
  init = PaperAutoencoder().init
  shapes = jax.eval_shape(
    lambda key: init(key, x, capture_intermediates=True, mutable=True), jax.random.key(0)
  )
  outputs = flax.traverse_util.flatten_dict(shapes["intermediates"])
  kernels = flax.traverse_util.flatten_dict(shapes["params"])
  return {
    path[:-1]: kernel.size * int(np.prod(outputs[*path[:-1], "__call__"][0].shape[:3]))
    for path, kernel in kernels.items()
    if path[-1] == "kernel"
  }


class StepSpeed(NamedTuple):
  """A compiled step, batch -> figures, that keeps its state; and its measurements."""

  advance: Callable[[Any], Any]
  batch_size: int
  step_s: float
  patches_per_s: float
  compile_s: float


def report_steps(dtypes: list, peaks: dict[Any, float], step_macs: int) -> dict[Any, StepSpeed]:
  """Prints a row for each dtype and batch size; returns the last batch size's by dtype."""
  rows, last = [], {}
  for dtype in dtypes:
    speeds = [measure_step(dtype, int(size)) for size in _BATCH_SIZES.value]
    rows += [step_row(dtype, speed, speeds[0], peaks[dtype], step_macs) for speed in speeds]
    last[dtype] = speeds[-1]
  head = "dtype; batch; step ms; patches/s; … to the first; GFLOP/s; share of peak; compile s"
  note = (
    "Preprocessing, network, gradient, Adam and averaging, from a batch on the device. The peak is "
    "that of the same dtype; compile time is cold, tracing included."
  )
  show("Training step", head, rows, note)
  return last


def step_row(dtype, speed: StepSpeed, first: StepSpeed, peak: float, step_macs: int) -> list[str]:
  rate = 2 * step_macs * speed.patches_per_s
  return [
    dtype.name,
    str(speed.batch_size),
    f"{1e3 * speed.step_s:.2f}",
    f"{speed.patches_per_s:.1f}",
    f"{speed.patches_per_s / first.patches_per_s:.2f}",
    f"{rate / 1e9:.1f}",
    f"{100 * rate / peak:.1f} %",
    f"{speed.compile_s:.2f}",
  ]


def measure_step(dtype, batch_size: int) -> StepSpeed:
  step_fn, state, batch = step_and_inputs(dtype, batch_size)
  jax.clear_caches()
  start = time.perf_counter()
  compiled = step_fn.lower(state, batch).compile()
  compile_s = time.perf_counter() - start

  def advance(batch):
    nonlocal state
    state, figures = compiled(state, batch)
    return figures

  step_s = median_s(lambda: advance(batch))
  return StepSpeed(advance, batch_size, step_s, batch_size / step_s, compile_s)


def step_and_inputs(dtype, batch_size: int) -> tuple[Any, Any, Any]:
  """(jitted step, state, batch) of the paper's network on one device."""
  model = PaperAutoencoder(dtype=dtype)
  shape = (batch_size, _PATCH_SIZE.value, _PATCH_SIZE.value, 3)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *shape[1:])))["params"]
  optimizer = optax.adam(1e-4)
  mesh = one_device()
  step_fn = make_train_step(losses.reconstruction_loss(model), optimizer, mesh)
  state = jax.device_put(create_state(params, optimizer), sharding.replicated(mesh))
  image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  return step_fn, state, sharding.to_global({"image": image}, mesh)


def one_device() -> Mesh:
  return Mesh(np.array(jax.devices()[:1]), (sharding.DATA_AXIS,))


def report_pipeline(speeds: dict[Any, StepSpeed]) -> None:
  dataset = _DATASET.value or ("kodak/paper" if _SOURCE_DIR.value else "sample_photos")
  source = sources.load_source(dataset, _SPLIT.value, source_dir=_SOURCE_DIR.value)
  cached = sources.cached(source, 4 << 30)
  list(cached)  # fills the cache
  images_per_s = pipeline.rate(lambda: pipeline.read_all(source), _SECONDS.value)
  batch_size = int(_BATCH_SIZES.value[-1])
  options = SimpleNamespace(batch_size=batch_size, seconds=_SECONDS.value)
  measure = lambda images: pipeline.measure(images, _PATCH_SIZE.value, _THREADS, options)
  rates = [batch_size * measure(images) for images in (source, cached)]
  note = (
    f"{dataset} {_SPLIT.value}: {len(source)} images, decoded by one thread at {images_per_s:.1f} "
    f"images/s. By itself, {_THREADS} threads, the pipeline gives {rates[0]:.0f} patches/s when it "
    f"decodes and {rates[1]:.0f} from decoded images in memory, in batches of {batch_size}. The "
    "fed step takes its batches from the latter as it goes, as training does; on a CPU the two "
    "share its cores."
  )
  head = "dtype; step patches/s; pipeline to step; … from memory; fed step patches/s; … to unfed"
  rows = [[dtype.name, *pipeline_cells(speed, rates, cached)] for dtype, speed in speeds.items()]
  show("Pipeline", head, rows, note)


def pipeline_cells(speed: StepSpeed, rates: list[float], source) -> Iterator[str]:
  yield f"{speed.patches_per_s:.1f}"
  yield from (f"{rate / speed.patches_per_s:.1f}" for rate in rates)
  fed = fed_patches_per_s(speed, source)
  yield f"{fed:.1f}"
  yield f"{fed / speed.patches_per_s:.2f}"


def fed_patches_per_s(speed: StepSpeed, source: sources.ImageSource) -> float:
  batches = patches.training_patches(
    source, patch_size=_PATCH_SIZE.value, batch_size=speed.batch_size, seed=0
  )
  mesh = one_device()
  seconds = median_s(lambda: speed.advance(sharding.to_global(next(batches), mesh)))
  batches.close()
  return speed.batch_size / seconds


def report_paths(dtype) -> None:
  note = (
    f"At the network's own shapes, batches of {_BATCH_SIZES.value[-1]}. Repeating before the "
    "convolution is the same map as `UpsampleConv`; a transposed 3x3 convolution of stride 2 is "
    "another one, with a quarter of the MACs."
  )
  head = "layer, input; forward ms; … to ours; forward and backward ms; … to ours"
  rows = path_rows(pooling_paths(dtype))
  for shape in [(4, 64, 32), (2, 32, 3)]:
    rows += path_rows(upsampling_paths(dtype, *shape))
  show(f"Slow paths avoided, {dtype.name}", head, rows, note)


def pooling_paths(dtype) -> Iterator[Path]:
  x = normal(0, (int(_BATCH_SIZES.value[-1]), _PATCH_SIZE.value, _PATCH_SIZE.value, 32), dtype)
  yield "max_pool_2x2", lambda _, x: max_pool_2x2(x), {}, x
  yield "nn.max_pool", lambda _, x: nn.max_pool(x, (2, 2), strides=(2, 2)), {}, x


def upsampling_paths(dtype, shrunk: int, c_in: int, c_out: int) -> Iterator[Path]:
  """The three take the same parameters; `shrunk` is how often the input goes into the patch."""
  side = _PATCH_SIZE.value // shrunk
  x = normal(0, (int(_BATCH_SIZES.value[-1]), side, side, c_in), dtype)
  ours, plain = UpsampleConv(c_out, dtype=dtype), nn.Conv(c_out, (3, 3), dtype=dtype)
  transposed = nn.ConvTranspose(c_out, (3, 3), strides=(2, 2), dtype=dtype)
  params = ours.init(jax.random.key(0), x)
  yield f"UpsampleConv to {c_out}", ours.apply, params, x
  yield "repeat, then nn.Conv", lambda p, x: plain.apply(p, x.repeat(2, 1).repeat(2, 2)), params, x
  yield "nn.ConvTranspose", transposed.apply, params, x


def path_rows(paths: Iterator[Path]) -> list[list[str]]:
  """A row for each path; the first is ours."""
  timed = [
    (f"{name}, {'x'.join(map(str, x.shape[1:]))}", *path_seconds(apply, params, x))
    for name, apply, params, x in paths
  ]
  _, ours, ours_both = timed[0]
  return [
    [name, f"{1e3 * one:.2f}", f"{one / ours:.2f}", f"{1e3 * both:.2f}", f"{both / ours_both:.2f}"]
    for name, one, both in timed
  ]


def path_seconds(apply, params: Any, x: jax.Array) -> tuple[float, float]:
  """Median seconds of the forward pass, and of it with the gradients for a cotangent equal to y."""

  def with_gradient(params, x):
    y, pull = jax.vjp(apply, params, x)
    return y, pull(y)

  forward, both = jax.jit(apply), jax.jit(with_gradient)
  return median_s(lambda: forward(params, x)), median_s(lambda: both(params, x))


if __name__ == "__main__":
  app.run(main)
