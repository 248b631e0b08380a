"""`python -m cae_jax.cli` is `cae`."""

import sys

from cae_jax.cli import main

sys.exit(main())
