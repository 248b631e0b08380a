"""Measures how fast images and training patches come: `python tests/benchmarks/pipeline.py`.

For example, with photographs of one's own:

    python tests/benchmarks/pipeline.py --dataset=photos --source_dir=DIR --split=train
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator

from cae_jax.data import patches, sources


def main() -> None:
  options = parse()
  source = sources.load_source(options.dataset, options.split, source_dir=options.source_dir)
  sizes = sources.image_sizes(source)
  megapixels = sizes.prod(axis=1).sum() / 1e6
  print(f"{options.dataset} {options.split}: {len(source)} images, {megapixels:.1f} megapixels")
  decode = rate(lambda: read_all(source), options.seconds)
  print(f"decoding, one thread: {decode:.1f} images/s")
  cached = sources.cached(source, options.cache_gib << 30)
  start = time.perf_counter()
  list(cached)
  print(f"filling the cache: {time.perf_counter() - start:.1f} s")
  print("patch  batch  threads  source   patches/s")
  for size, threads, (kind, images) in itertools.product(
    options.patch_sizes, options.threads, [("decoded", source), ("cached", cached)]
  ):
    result = options.batch_size * measure(images, size, threads, options)
    print(f"{size:5}  {options.batch_size:5}  {threads:7}  {kind:7}  {result:9.0f}", flush=True)


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--dataset", default="sample_photos")
  parser.add_argument("--source_dir")
  parser.add_argument("--split", default="train")
  parser.add_argument("--batch_size", type=int, default=16)
  parser.add_argument("--patch_sizes", type=int, nargs="+", default=[128, 256])
  parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1, 8])
  parser.add_argument("--cache_gib", type=int, default=4)
  parser.add_argument("--seconds", type=float, default=2.0, help="time of each measurement")
  return parser.parse_args()


def measure(source: sources.ImageSource, size: int, threads: int, options) -> float:
  """Batches per second of the training pipeline."""
  iterator = patches.training_patches(
    source, patch_size=size, batch_size=options.batch_size, seed=0, num_threads=threads
  )
  next(iterator)  # starts the threads
  result = rate(lambda: iterator, options.seconds, skip=8)
  iterator.close()
  return result


def read_all(source: sources.ImageSource) -> Iterator:
  return (source[index] for index in itertools.cycle(range(len(source))))


def rate(make: Callable[[], Iterator], seconds: float, skip: int = 0) -> float:
  """Elements per second, after the first few (those that were made ahead)."""
  iterator = make()
  for _ in range(skip):
    next(iterator)
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    next(iterator)
    count += 1
  return count / (time.perf_counter() - start)


if __name__ == "__main__":
  main()
