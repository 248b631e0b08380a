"""What the step of a visit costs to compile for a GPU, and how many programs it begins there.

  python -m tests.benchmarks.gpu_program --flagfile=experiments/flags/context_gpu.flags

No GPU is needed, only `pip install "jax[cuda13]"` and its description (here of an H100): XLA
compiles for one that is not there, but tries nothing out. JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 lets
that package be without a driver; XLA_FLAGS are best those of `experiments/visit.sh`.
"""

import re
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import ShapeDtypeStruct
from jax.experimental import topologies
from jax.sharding import Mesh

from cae_jax.data.resident import Photos, Slots
from cae_jax.training import sharding
from cae_jax.training.resident import Dispatch, Recipe, Stage
from cae_jax.training.state import create_state
from experiments import cli, train_subject, visit_flags
from experiments.program_flags import Args, Flags

# As XLA writes down the GPU that it finds.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 device_memory_size: 84978434048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 patch: 0 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_COUNT, _PIXELS, _SLOTS = 840, 294_500_000, 5000  # photographs, about as many as a visit has


def define_flags(flags: Flags) -> None:
  """Defines the flags: those of a visit."""
  visit_flags.define_flags(flags)
  flags.args["output"].value = "unused"


def main(args: Args) -> None:
  """Runs the program."""
  target = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=_H100)
  mesh = Mesh(np.array(target.devices[:1]), (sharding.DATA_AXIS,))
  subject = train_subject.of(args)
  model = subject.model(args)
  loss_fn, _ = subject.objectives(args, model)
  optimizer = lambda rate: subject.optimizer_at(args, rate)
  params = subject.parameter_shapes(args)
  state = jax.eval_shape(lambda params: create_state(params, optimizer(1.0)), params)
  recipe = Recipe(loss_fn, optimizer, args.min_scale, args.seed, args.ema_decay)
  stage = Stage(0.0, args.patch_size, args.batch_size)
  begin = time.perf_counter()
  compiled = Dispatch(recipe, _photographs(mesh), stage).compile(state, args.log_every)
  seconds = time.perf_counter() - begin
  print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.2f} M parameters")
  print(f"{seconds:.0f} s to trace and compile")
  print(f"{_launches(compiled.as_text())} launches a step, but for what loops and branches hold")
  print(f"{compiled.memory_analysis().temp_size_in_bytes / 2**20:.0f} MiB for what lies between")


def _photographs(mesh: Mesh) -> SimpleNamespace:
  """Shapes of photographs in place of arrays, as `ResidentPhotos` has them."""
  shape = lambda *sizes, dtype=jnp.int32: ShapeDtypeStruct((1, *sizes), dtype)
  photos = Photos(shape(_PIXELS, 3, dtype=jnp.uint8), *3 * [shape(_COUNT)])
  slots = Slots(shape(_SLOTS), shape())
  return SimpleNamespace(mesh=mesh, photos=photos, slots=lambda patch_size: (slots, _SLOTS))


def _launches(program: str) -> int:
  """Kernels and calls in the largest computation that is no single kernel: a step's."""
  bodies = re.split(r"\n\}\n", program)
  count = lambda body: len(re.findall(r" (?:fusion|custom-call|copy)\(", body))
  return max(count(body) for body in bodies)


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
