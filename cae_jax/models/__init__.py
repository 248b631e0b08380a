"""Networks and probabilities, in pure JAX and Flax."""
