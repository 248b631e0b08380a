"""Images to bytes and back: where networks, tables and the container meet."""

from cae_jax.codec.paper import PaperCodec, calibrate, from_weights, load

__all__ = ["PaperCodec", "calibrate", "from_weights", "load"]
