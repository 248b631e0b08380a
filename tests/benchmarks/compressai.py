"""Measures our mean-scale hyperprior against CompressAI's `mbt2018-mean` of the same widths.

    python tests/benchmarks/compressai.py --compressai_python=VENV/bin/python [--check]

CompressAI wants an older NumPy than JAX, so it runs in an environment of its own:

    python -m venv VENV && VENV/bin/pip install compressai

(its wheels are of CPython on Linux; elsewhere it needs a C++ compiler; torch for CPUs alone comes
from PyTorch's own index). Prints Markdown: the seconds of both for a training step, for image to
bytes and for bytes to image, in alternating rounds on the same threads, so that the ratios hold
where the seconds do not; nothing else should be running. With --check instead: CompressAI's random
weights in our model, and how far each part's output is from CompressAI's.
"""

import contextlib
import functools
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging
from jax.sharding import Mesh
from training import cpu_model

from cae_jax.codec.calibration import calibrate_weights
from cae_jax.codec.coders.hyperprior import Coder
from cae_jax.evaluation.tables import markdown
from cae_jax.models import build_model, init_params
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.training import sharding
from cae_jax.training.losses import rate_distortion_loss
from cae_jax.training.state import create_state
from cae_jax.training.step import make_train_step

_PYTHON = flags.DEFINE_string(
  "compressai_python", None, "Interpreter that has torch and compressai.", required=True
)
_CHECK = flags.DEFINE_bool("check", False, "Compare outputs under the same weights instead.")
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Cores that both may use.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of alternating measurements.", 1)
_HIDDEN = flags.DEFINE_integer("hidden", 128, "N.", 1)
_LATENT = flags.DEFINE_integer("latent", 192, "M.", 1)
_BATCH = flags.DEFINE_integer("batch", 8, "Patches of 128 x 128 in a training step.", 1)

_HEIGHT, _WIDTH, _PATCH = 512, 768, 128
_SPREAD = 2.0  # of the latents of either, which have not been trained
_LMBDA = 0.013
_WORKER = Path(__file__).with_name("compressai_worker.py")


class Worker:
  """CompressAI's side: one call is one line there and one back."""

  def __init__(self, python: str):
    self._process = subprocess.Popen(
      [python, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

  def __call__(self, do: str, **arguments) -> Any:
    assert self._process.stdin is not None
    assert self._process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
      print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
    reply = self._process.stdout.readline()
    if not reply:
      raise RuntimeError(
        f"CompressAI's side failed (see above); has {_PYTHON.value} torch and compressai?"
      )
    return json.loads(reply)


def main(_) -> None:
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: _THREADS.value])
  rng = np.random.default_rng(0)
  picture = _picture(rng, _HEIGHT, _WIDTH)
  patches = np.stack([_picture(rng, _PATCH, _PATCH) for _ in range(_BATCH.value)])
  worker = Worker(_PYTHON.value)
  with tempfile.TemporaryDirectory() as folder:
    paths = {name: str(Path(folder) / f"{name}.npy") for name in ("picture", "patches")}
    np.save(paths["picture"], picture)
    np.save(paths["patches"], patches)
    theirs = worker(
      "setup",
      hidden=_HIDDEN.value,
      latent=_LATENT.value,
      threads=_THREADS.value,
      spread=_SPREAD,
      lmbda=_LMBDA,
      **paths,
    )
    print(
      f"# Mean-scale hyperprior, N = {_HIDDEN.value}, M = {_LATENT.value}\n\n{_where(theirs)}\n"
    )
    if _CHECK.value:
      worker("reference", path=folder + "/reference.npz")
      check(dict(np.load(folder + "/reference.npz")))
    else:
      compare(worker, theirs, picture, patches)


def _where(theirs) -> str:
  return (
    f"{cpu_model()}, {_THREADS.value} threads of {os.cpu_count()} (load at the start "
    f"{os.getloadavg()[0]:.1f}); jax {jax.__version__} on {jax.default_backend()}, Python "
    f"{platform.python_version()}; {theirs['versions']}."
  )


def _picture(rng, height: int, width: int) -> np.ndarray:
  """Smooth colours and some grain: uint8 [height, width, 3]."""
  y, x = np.mgrid[:height, :width] / 64
  waves = [np.sin(a * y + b * x + c) for a, b, c in rng.normal(0, 2, (3, 3))]
  image = 128 + 70 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
  return np.clip(image, 0, 255).astype(np.uint8)


def compare(worker: Worker, theirs, picture, patches) -> None:
  """Prints seconds and ratios."""
  ours, size_bytes = our_side(picture, patches)
  rows = []
  for name, run in ours.items():
    logging.info("%s: %.1f s to warm up ours, %.1f s CompressAI", name, run(), worker(name))
    pairs = [(run(), worker(name)) for _ in range(_ROUNDS.value)]
    seconds = [statistics.median(times) for times in zip(*pairs)]
    ratio = statistics.median(b / a for a, b in pairs)
    rows.append([_TITLES[name], *(f"{s:.3f}" for s in seconds), f"{ratio:.2f}"])
    logging.info("%s", rows[-1])
  print(markdown(["", "cae_jax s", "CompressAI s", "times as fast"], rows))
  print(
    f"\nMedians of {_ROUNDS.value} rounds in turns. The training step has noise, loss, gradient "
    f"and Adam, ours its running average too; neither has an auxiliary loss. {_WIDTH}x{_HEIGHT}: "
    f"from the array to coded latents and back, without a container; untrained latents of standard "
    f"deviation {_SPREAD:g}, {size_bytes} bytes ours and {theirs['size_bytes']} CompressAI's."
  )


_TITLES = {
  "train_step": "training step, 128x128 patches",
  "compress": f"{_WIDTH}x{_HEIGHT} to bytes",
  "decompress": f"bytes to {_WIDTH}x{_HEIGHT}",
}


def our_side(picture, patches) -> tuple[dict[str, Callable[[], float]], int]:
  """Our three measurements, each a function that returns seconds, and the size of the code."""
  config = {
    "model": "hyperprior",
    "hidden_channels": _HIDDEN.value,
    "latent_channels": _LATENT.value,
    "slope": 0.125,
    "fixed_lmbda": _LMBDA,
  }
  model = build_model(config)
  params = _spread_latents(model, jax.device_get(init_params(model, 0)), picture)
  coder = Coder(calibrate_weights("benchmark", config, params, [picture]))
  coded = coder.encode(coder.analyse(picture))
  shape = coded.y_hat.shape[:2]
  compress = lambda: coder.encode(coder.analyse(picture))
  decompress = lambda: coder.synthesise(coder.decode(coded.section, shape)[1])
  sides = {
    "train_step": _train_step(model, params, patches),
    "compress": lambda: _seconds(compress),
    "decompress": lambda: _seconds(decompress),
  }
  return sides, len(coded.section)


def _spread_latents(model, params, picture):
  """As `compressai_worker` does it; our hyper-synthesis gives logarithms of scales."""
  x = picture[None] / np.float32(255)
  analyse = jax.jit(functools.partial(model.apply, method="analyse"))
  last = params["analysis"]["conv_3"]
  last["kernel"] = last["kernel"] * np.float32(_SPREAD / np.std(analyse({"params": params}, x)))
  bias = np.repeat([0.0, np.log(_SPREAD)], _LATENT.value).astype(np.float32)
  params["hyper_synthesis"]["conv_2"]["bias"] = bias
  return params


def _train_step(model, params, patches) -> Callable[[], float]:
  optimizer = optax.adam(1e-4)
  mesh = Mesh(np.array(jax.devices()[:1]), (sharding.DATA_AXIS,))
  step = make_train_step(rate_distortion_loss(model), optimizer, mesh)
  state = jax.device_put(create_state(params, optimizer), sharding.replicated(mesh))
  batch = sharding.to_global({"image": patches}, mesh)

  def run():
    nonlocal state
    state, figures = step(state, batch)
    return figures["loss"].block_until_ready()

  return lambda: _seconds(run)


def _seconds(run: Callable[[], Any]) -> float:
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def check(reference: dict[str, np.ndarray]) -> None:
  """Prints how far our outputs are from CompressAI's; an error if it is more than rounding."""
  net = {name[4:]: value for name, value in reference.items() if name.startswith("net/")}
  out = {name[4:]: value for name, value in reference.items() if name.startswith("out/")}
  model = HyperpriorModel(_HIDDEN.value, _LATENT.value, slope=0.01)
  params = from_compressai(net)
  run = lambda method, *of: jax.jit(functools.partial(model.apply, method=method))(
    {"params": params}, *of
  )
  means, log_scales = run("conditional", out["z_hat"])
  ours = {
    "y": run("analyse", out["x"]),
    "z": run("hyper_analyse", out["y"]),
    "params": jnp.concatenate([log_scales, means], -1),  # scales come first there
    "x_hat": run("synthesise", out["y_hat"], np.zeros(1)),
  }
  rows, worst = [], 0.0
  for name, value in ours.items():
    size = float(np.abs(out[name]).max())
    error = float(np.abs(out[name] - value).max())
    worst = max(worst, error / max(size, 1.0))
    rows.append([name, "x".join(map(str, value.shape[1:])), f"{size:.3g}", f"{error:.1e}"])
  print(markdown(["output", "shape", "largest", "largest difference"], rows))
  if worst > 1e-4:
    raise ValueError(f"the outputs differ by {worst:.1e} of their size, expected at most 1e-4")


def from_compressai(net: dict[str, np.ndarray]) -> dict[str, Any]:
  """The parameters of our four networks from the state of a `MeanScaleHyperprior`."""
  conv = lambda name: _conv(net, name, (2, 3, 1, 0))
  transposed = lambda name: _conv(net, name, (2, 3, 0, 1))
  gdn = lambda name: {"beta": net[f"{name}.beta"], "gamma": net[f"{name}.gamma"].T}
  hyper_synthesis = [transposed("h_s.0"), transposed("h_s.2"), conv("h_s.4")]
  # Our means come first.
  hyper_synthesis[2] = {
    name: np.concatenate(np.split(value, 2, axis=-1)[::-1], axis=-1)
    for name, value in hyper_synthesis[2].items()
  }
  return {
    "analysis": _numbered("conv", map(conv, ["g_a.0", "g_a.2", "g_a.4", "g_a.6"]))
    | _numbered("gdn", map(gdn, ["g_a.1", "g_a.3", "g_a.5"])),
    "synthesis": _numbered("conv", map(transposed, ["g_s.0", "g_s.2", "g_s.4", "g_s.6"]))
    | _numbered("gdn", map(gdn, ["g_s.1", "g_s.3", "g_s.5"])),
    "hyper_analysis": _numbered("conv", map(conv, ["h_a.0", "h_a.2", "h_a.4"])),
    "hyper_synthesis": _numbered("conv", hyper_synthesis),
  }


def _conv(net, name: str, axes) -> dict[str, np.ndarray]:
  return {"kernel": net[f"{name}.weight"].transpose(axes), "bias": net[f"{name}.bias"]}


def _numbered(name: str, layers) -> dict[str, Any]:
  return {f"{name}_{i}": layer for i, layer in enumerate(layers)}


if __name__ == "__main__":
  app.run(main)
