"""Weights and files that this and every later version decodes to the pictures beside them."""

from pathlib import Path

FOLDER = Path(__file__).parent
# Of released weights: name, as files carry it -> hash. Nothing is ever taken away from these.
GENERATIONS = {
  "context": "b5127bc20920c906",
  "lossless": "9e029fc5f176014f",
  "lossless2": "ffeab8b2c289adc5",
  "eye": "89ca536d16039aec",
  "context2": "db4f6e1f26ddd5b8",
  "eye2": "f1f4c1b0a8ed9bae",
  "eye3": "57f6ea07e9597335",
}
