"""Packs what a visit to a machine with an accelerator needs, where nothing can be fetched there.

    python -m experiments.pack --source_dir=PHOTOS

Writes a folder, .visit by default, that git ignores: wheels/, photos/train.tar with as many
photographs as fit beside the working tree, photos/valid.tar with the centres of the validation
photographs, what an earlier visit brought back (--visit): state/, with --programs also cache.tar,
and, for looks, inception/ (--inception). Copy it and the working tree to the machine, and run there
what this program prints last. Where a machine can be sent several parcels one after another,
--parcels makes further folders (.visit-2, ...) of photographs for the first one's.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cae_jax.data import listing, packing
from cae_jax.errors import Error, UsageError
from cae_jax.images.metrics import inception
from experiments import cli
from experiments.program_flags import Args, Flags

# What a machine with JAX, Flax, Optax and Orbax lacks, of what a visit imports.
_WHEELS = "constriction", "platformdirs", "tensorboardX"
_PROGRAMS = "cache.tar.*"  # parts of an archive that an earlier visit has brought back
_GLIBC = "2_28", "2_27", "2_17"
_MIB = 1 << 20


def define_flags(flags: Flags) -> None:
  """Defines the flags."""
  flags.path("source_dir", None, "Folder of images or tar shards.", required=True)
  flags.string("only", None, "Files of it to take, with commas; all of split train if not given.")
  flags.path("members", None, "File with further photographs, one SHARD/MEMBER a line.")
  flags.integer("quality", None, "Of AVIF to encode them again, which takes long; as is if not.", 1)
  flags.integer("valid_patch_size", 256, "Side of the centres to validate on.", 8)
  flags.integer("seed", 0, "Decides which photographs fit.", 0)
  flags.path("visit", None, "Folder that an earlier visit has brought back, to go on from.")
  flags.path("inception", None, "Folder of nsfwjs' Inception v3, for a look; a part goes along.")
  flags.boolean("programs", False, "Take its compiled programs along, which take much room.")
  flags.path("tree", ".", "The working tree that travels along.")
  flags.path("output", ".visit", "Folder to write; an earlier parcel in it goes.")
  flags.number("limit_mib", 63.0, "Size of the tree and a folder together.", 1)
  flags.integer("parcels", 1, "Folders that photographs are shared out over.", 1)
  flags.string("wheels", ",".join(_WHEELS), "Packages that the machine lacks, with commas.")
  flags.string("python_version", "3.12", "Of the machine; Linux on x86-64.")


def main(args: Args) -> None:
  """Runs the program."""
  output = args.output
  further = [output.with_name(f"{output.name}-{n}") for n in range(2, args.parcels + 1)]
  photos, valid = _members(args)
  _check_outputs(args, (output, *further))
  if args.visit and args.programs and not any(args.visit.glob(_PROGRAMS)):
    raise UsageError(f"--programs: {args.visit} holds no compiled programs; leave the flag out")
  for folder in (output, *further):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "photos").mkdir(parents=True)
  if args.wheels:
    _download(args.wheels.split(","), args.python_version, output / "wheels")
  if args.visit:
    _take_along(args.visit, output, args.programs)
  if args.inception:
    inception.reduce(args.inception, output / "inception")
  packed_valid = packing.pack_centers(output / "photos" / "valid.tar", valid, args.valid_patch_size)
  tree = _tree_bytes(args.tree, (output, *further))
  shards = [output / "photos" / "train.tar"]
  shards += [f / "photos" / f"train-{n}.tar" for n, f in enumerate(further, 2)]
  packed, pixels = _pack_photographs(args, shards, photos, tree)
  print(f"working tree {tree / _MIB:.1f} MiB")
  for path in (*sorted(output.iterdir()), *further):
    print(f"{path} {_folder_bytes(path) / _MIB:.1f} MiB")
  print(
    f"{packed} of {len(photos)} photographs, {pixels / 1e6:.1f} megapixels; "
    f"{packed_valid.photographs} to validate on"
  )
  for folder in further:
    print(f"first there: cp {folder}/photos/* {output}/photos/")
  print(f"run there: bash experiments/visit.sh {output} OUTPUT 9.3")


def _pack_photographs(
  args: Args, shards: Sequence[Path], photos: Sequence[tuple[str, bytes]], tree: int
) -> tuple[int, int]:
  """Shares the photographs out over shards, as many as fit beside a tree of so many bytes.

  Returns:
    How many photographs were packed, and their pixels.
  """
  left, pixels, quality = photos, 0, args.quality
  for shard in shards:
    room = int(args.limit_mib * _MIB) - tree - _folder_bytes(shard.parents[1])
    if room <= 0:
      raise UsageError(
        f"--limit_mib={args.limit_mib:g}: nothing is left for photographs beside a working tree of "
        f"{tree / _MIB:.1f} MiB; move large files out of it for the time being"
      )
    packed = packing.pack(shard, left, room, seed=args.seed, quality=quality)
    left, pixels = packed.left, pixels + packed.pixels
    quality = None  # what did not fit has been encoded again already
  if len(left) == len(photos):
    raise UsageError(f"--limit_mib={args.limit_mib:g}: not one photograph fits")
  return len(photos) - len(left), pixels


def _check_outputs(args: Args, folders: Sequence[Path]) -> None:
  """Raises UsageError if what is to go is more than an earlier parcel, or is needed."""
  for folder in folders:
    if folder.exists() and any(folder.iterdir()) and not (folder / "photos").is_dir():
      raise UsageError(f"--output: {folder} holds other things than a parcel; give another folder")
    for name in ("tree", "source_dir", "visit", "inception"):
      path = args[name].value
      if path is not None and path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--output: {folder} holds --{name}={path}; give another folder")


def _members(args: Args) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
  """The photographs to train on and to validate on: names and bytes."""
  further = set(args.members.read_text().split()) if args.members else set()
  only = None if args.only is None else args.only.split(",")
  photos, valid = [], []
  for path in listing.list_files(args.source_dir):
    name = listing.relative_name(path, args.source_dir)
    split = listing.split_of(name)
    taken = split == "train" if only is None else name in only
    for member, data in listing.read_members(path, args.source_dir):
      if isinstance(data, OSError):
        raise data
      if split == "valid":
        valid.append((member, data))
      elif taken or member in further:
        photos.append((member, data))
  missing = further - {member for member, _ in photos}
  if missing:
    raise UsageError(f"--members: {min(missing)} is not in {args.source_dir}")
  if not photos or not valid:
    raise UsageError(
      f"{args.source_dir}: expected photographs to train and to validate on, found "
      f"{len(photos)} and {len(valid)}"
    )
  return photos, valid


def _take_along(visit: Path, output: Path, programs: bool) -> None:
  """The undecayed state of an earlier visit, and its compiled programs."""
  shutil.copytree(visit / "undecayed", output / "state")
  if programs:
    parts = sorted(visit.glob(_PROGRAMS))
    (output / "cache.tar").write_bytes(b"".join(part.read_bytes() for part in parts))


def _download(packages: list[str], python_version: str, folder: Path) -> None:
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}"]
  command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python_version}"]
  command += [f"--platform=manylinux_{glibc}_x86_64" for glibc in _GLIBC]
  command += ["--platform=manylinux2014_x86_64", *packages]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    last_line = (done.stderr.strip().splitlines() or ["unknown error"])[-1]
    raise Error(f"--wheels: pip download failed: {last_line}")


def _tree_bytes(tree: Path, outputs: Sequence[Path]) -> int:
  """The files of a git working tree, tracked or not, that are not ignored, less the outputs."""
  command = ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise UsageError(f"--tree={tree}: expected a git working tree ({done.stderr.strip()})")
  paths = {tree / name for name in done.stdout.split("\0") if name}
  inside = lambda path: any(path.resolve().is_relative_to(output.resolve()) for output in outputs)
  return sum(path.stat().st_size for path in paths if path.is_file() and not inside(path))


def _folder_bytes(folder: Path) -> int:
  paths = folder.rglob("*") if folder.is_dir() else [folder]
  return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
