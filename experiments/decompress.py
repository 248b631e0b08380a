"""Decompresses a .cae file; `cae decompress` by another name.

python -m experiments.decompress IN.cae OUT.png [--look=B]
"""

import sys

from cae_jax import cli

if __name__ == "__main__":
  sys.exit(cli.main(["decompress", *sys.argv[1:]]))
