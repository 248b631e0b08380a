"""Integers to bytes and back; no JAX in this room."""

from cae_jax.coding import huffman, rans, sign_hiding
from cae_jax.coding.bitstream import (
  Container,
  Header,
  Kind,
  Outline,
  outline,
  pack,
  symbol_checksum,
  unpack,
)
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.pmf import quantize_pmf
from cae_jax.coding.symbols import information_bits
from cae_jax.coding.tables import (
  CodingTables,
  tables_from_counts,
  tables_from_frequencies,
  tables_from_pmfs,
)

__all__ = [
  "BitstreamError",
  "CodingTables",
  "Container",
  "Header",
  "Kind",
  "Outline",
  "huffman",
  "information_bits",
  "outline",
  "pack",
  "quantize_pmf",
  "rans",
  "sign_hiding",
  "symbol_checksum",
  "tables_from_counts",
  "tables_from_frequencies",
  "tables_from_pmfs",
  "unpack",
]
