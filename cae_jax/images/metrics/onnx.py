"""Reads ONNX files as far as a chain of convolutions needs: operators and weights.

A file is one message of Protocol Buffers (https://github.com/onnx/onnx, onnx.proto): fields with a
number and a value, an integer or bytes. So no package is needed that would run the file.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from cae_jax.errors import Error

# Numbers of fields.
_GRAPH = 7  # of the model
_NODE, _INITIALIZER = 1, 5  # of the graph
_INPUT, _OUTPUT, _OPERATOR = 1, 2, 4  # of a node
_SHAPE, _TYPE, _TENSOR_NAME, _RAW = 1, 2, 8, 9  # of a tensor
_FLOAT32 = 1


@dataclasses.dataclass(frozen=True)
class Node:
  """One operator.

  Attributes:
    operator: its name, such as "Conv".
    inputs, outputs: names of tensors.
  """

  operator: str
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


def read(path: str | os.PathLike) -> tuple[list[Node], dict[str, np.ndarray]]:
  """Reads a file's operators, in their order, and its float32 weights by name.

  Raises:
    Error: it is no ONNX file, or its end is missing.
    OSError: it cannot be read.
  """
  data = memoryview(pathlib.Path(path).read_bytes())
  try:
    graph = dict(_fields(data))[_GRAPH]
    parts = list(_fields(graph))
    nodes = [_node(part) for number, part in parts if number == _NODE]
    weights = dict(_tensor(part) for number, part in parts if number == _INITIALIZER)
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise Error(f"{path}: expected an ONNX file, found none or a part of one") from error
  return nodes, {name: value for name, value in weights.items() if value is not None}


def _node(data) -> Node:
  fields = [(number, value) for number, value in _fields(data)]
  names = lambda wanted: tuple(_text(value) for number, value in fields if number == wanted)
  (operator,) = names(_OPERATOR)
  return Node(operator, names(_INPUT), names(_OUTPUT))


def _tensor(data) -> tuple[str, np.ndarray | None]:
  fields: dict[int, Any] = {}
  shape = []
  for number, value in _fields(data):
    if number == _SHAPE:
      shape.append(value)
    fields[number] = value
  is_float = fields.get(_TYPE) == _FLOAT32 and _RAW in fields
  values = np.frombuffer(fields[_RAW], "<f4").reshape(shape) if is_float else None
  return _text(fields[_TENSOR_NAME]), values


def _text(data) -> str:
  return bytes(data).decode()


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
  """Yields number and value of each field: an integer, or the bytes of anything else."""
  at = 0

  def integer() -> int:
    nonlocal at
    value = shift = 0
    while True:
      byte = data[at]
      at += 1
      value |= (byte & 127) << shift
      shift += 7
      if byte < 128:
        return value

  while at < len(data):
    number, kind = divmod(integer(), 8)
    if kind == 0:
      yield number, integer()
      continue
    size = {1: lambda: 8, 2: integer, 5: lambda: 4}[kind]()
    if at + size > len(data):
      raise ValueError("the end is missing")
    yield number, data[at : at + size]
    at += size
