"""Compresses an image file; `cae compress` by another name.

python -m experiments.compress IN OUT.cae \
  [--quality=Q | --bpp=X | --psnr=X | --ssimulacra2=X | --bytes=N] [--tune=psnr|eye]
python -m experiments.compress IN OUT.cae --lossless | --near_lossless=T
"""

import sys

from cae_jax import cli

if __name__ == "__main__":
  sys.exit(cli.main(["compress", *sys.argv[1:]]))
