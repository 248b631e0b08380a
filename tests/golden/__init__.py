"""Weights and files that this and every later version decodes to the pictures beside them."""

from pathlib import Path

FOLDER = Path(__file__).parent
