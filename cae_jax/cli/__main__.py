"""`python -m cae_jax.cli` is `cae`."""

import sys

from cae_jax.cli import main

if __name__ == "__main__":
  sys.exit(main())
