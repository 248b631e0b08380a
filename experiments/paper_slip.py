"""Shows that the paper's figures for JPEG, JPEG 2000 and BPG are those of a likely slip.

    python -m experiments.paper_slip --source_dir=KODAK --output=runs/paper_slip

Decodes the Kodak images, takes PSNR against the *wrong* original and of RGB against YCbCr, and
writes slip.md, slip.json and slip.png beside the numbers the paper printed. About two minutes.
"""

import dataclasses
import sys

from cae_jax.atomic import write_json, write_text
from cae_jax.data import sources
from cae_jax.evaluation.codecs import baselines
from cae_jax.evaluation.figures import drawing
from cae_jax.evaluation.paper import slip
from cae_jax.paths import make_folder
from experiments import cli
from experiments.program_flags import Args, Flags


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  flags.path("source_dir", None, "Folder or tar file with kodim01.png …; None downloads them.")
  flags.string("dataset", "kodak", "Data set; its test split is read.")
  flags.path("data_dir", None, "Where prepared data sets are kept.")
  flags.path("bpg_dir", None, "Folder of bpgenc and bpgdec; None: the PATH.")
  flags.path("output", "runs/paper_slip", "Folder to write to.")


def main(args: Args) -> None:
  """Runs the program."""
  source = sources.load_source(
    args.dataset, "test", source_dir=args.source_dir, data_dir=args.data_dir
  )
  images = list(sources.pairs(source))  # each decoded picture is held against every original
  codecs = baselines.baselines(list(slip.SETTINGS), args.bpg_dir)
  present = [codec for codec in codecs if not isinstance(codec, baselines.Missing)]
  missing = [codec for codec in codecs if isinstance(codec, baselines.Missing)]
  slips = [slip.measure_slip(codec, slip.SETTINGS[codec.name], images) for codec in present]
  notes = [f"{codec.name}: {codec.status}" for codec in missing]
  _write(args.output, slips, notes)


def _write(folder, slips, notes):
  make_folder(folder)
  table = slip.slip_table(slips, notes)
  write_text(folder / "slip.md", table)
  values = {"slips": [dataclasses.asdict(item) for item in slips], "notes": notes}
  write_json(folder / "slip.json", values)
  drawing.save(slip.slip_figure(slips), folder / "slip.png")
  print(table)


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
