"""Our codecs as the evaluation sees them."""

import jax.numpy as jnp
import numpy as np

import cae_jax
from cae_jax.codec import PaperCodec
from cae_jax.evaluation.codecs import FileCodec

_SIDES = np.dtype("<u4")


def coded(codec: PaperCodec) -> FileCodec:
  """The codec itself: rounded, Huffman-coded latents in the container."""
  setting = f"{codec.weights.config['coding_bits']} bits"
  return FileCodec(
    name=codec.weights.name,
    version=_version(codec),
    settings=(setting,),
    search=(setting,),
    encoder=lambda x, _: codec.compress(x),
    decoder=codec.decompress,
  )


def uncoded(codec: PaperCodec) -> FileCodec:
  """The network alone, as the paper measures it: its latents stored as raw float32 numbers."""
  return FileCodec(
    name=f"{codec.weights.name}-float",
    version=_version(codec),
    settings=("float32 latents",),
    search=("float32 latents",),
    encoder=lambda x, _: _store(codec, x),
    decoder=lambda data: _restore(codec, data),
  )


def _version(codec: PaperCodec) -> str:
  return f"cae_jax {cae_jax.__version__}, weights {codec.weights.hash().hex()}"


def _store(codec: PaperCodec, x_uint8: np.ndarray) -> bytes:
  y = np.asarray(codec.latents(x_uint8))
  sides = np.array([*x_uint8.shape[:2], *y.shape], _SIDES)
  return sides.tobytes() + y.astype("<f4").tobytes()


def _restore(codec: PaperCodec, data: bytes) -> np.ndarray:
  height, width, *shape = np.frombuffer(data, _SIDES, count=5).tolist()
  y = np.frombuffer(data, "<f4", offset=5 * _SIDES.itemsize).reshape(shape)
  return codec.reconstruct(jnp.asarray(y), height, width)
