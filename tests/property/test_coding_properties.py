"""The coding room's promises, for any input."""

import contextlib
import functools
import zlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.extra import numpy as hnp

from cae_jax.coding import (
  BitstreamError,
  Header,
  Kind,
  huffman,
  information_bits,
  pack,
  quantize_pmf,
  rans,
  tables_from_pmfs,
  unpack,
)
from cae_jax.coding.prefix_code import code_lengths
from cae_jax.coding.varint import ByteReader, read_varints, write_varint, write_varints

CODERS = pytest.mark.parametrize("coder", [rans, huffman], ids=["rans", "huffman"])
bounded = functools.partial(settings, deadline=None, max_examples=100)
int32 = st.integers(-(1 << 31), (1 << 31) - 1)
weights = st.one_of(st.just(0.0), st.floats(1e-12, 1.0))


@st.composite
def pmf(draw, max_size=40):
  values = draw(hnp.arrays(np.float64, st.integers(1, max_size), elements=weights))
  assume(values.sum() > 0)
  return values / values.sum() * draw(st.floats(0.01, 1.0))


@st.composite
def tables(draw, escape):
  rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
  sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
  spread = draw(st.sampled_from([0.05, 1.0, 10.0]))
  mass = draw(st.sampled_from([0.1, 0.999, 1.0]))
  pmfs = [mass * rng.dirichlet(np.full(size, spread)) for size in sizes]
  offsets = rng.integers(-100, 100, len(sizes))
  return tables_from_pmfs(pmfs, offsets, draw(st.integers(6, 24)), escape)


@st.composite
def escaped_message(draw):
  table_set = draw(tables(escape=True))
  size = draw(st.integers(0, 50))
  near = st.integers(-150, 150)
  symbols = draw(hnp.arrays(np.int32, size, elements=st.one_of(near, int32)))
  indexes = draw(hnp.arrays(np.int32, size, elements=st.integers(0, len(table_set) - 1)))
  return symbols, indexes, table_set


@st.composite
def plain_message(draw):
  table_set = draw(tables(escape=False))
  seed, size = draw(st.integers(0, 1 << 30)), draw(st.sampled_from([0, 1, 5, 300, 3000]))
  rng = np.random.default_rng(seed)
  indexes = rng.integers(0, len(table_set), size)
  symbols = rng.integers(0, table_set.lengths[indexes]) + table_set.offsets[indexes]
  return symbols, indexes, table_set


@CODERS
@given(message=escaped_message() | plain_message())
@bounded()
def test_decode_inverts_encode(coder, message):
  symbols, indexes, table_set = message
  decoded = coder.decode(coder.encode(*message), indexes, table_set)
  np.testing.assert_array_equal(decoded, symbols)


@given(message=escaped_message() | plain_message())
@bounded()
def test_rans_costs_the_information_content(message):
  ideal_bytes = information_bits(*message) / 8
  size = len(rans.encode(*message))
  assert size <= 1.001 * ideal_bytes + 6  # slots 0 at the end of the coding order may cost nothing


@given(values=pmf(60), precision=st.integers(6, 24))
@bounded()
def test_frequencies_have_no_zeros_and_the_exact_sum(values, precision):
  frequencies = quantize_pmf(values, precision)
  assert frequencies.min() >= 1
  assert frequencies.sum() == 1 << precision


@given(values=pmf(60), scale=st.sampled_from([2.0**-30, 0.5, 4.0]))
@bounded()
def test_frequencies_do_not_depend_on_the_norm(values, scale):
  np.testing.assert_array_equal(quantize_pmf(values), quantize_pmf(values * scale))


@given(frequencies=hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(1, 1 << 24)))
@bounded()
def test_code_lengths_fill_the_code_space(frequencies):
  lengths = code_lengths(frequencies)
  assert lengths.max() <= 16
  assert np.sum(2.0 ** -lengths.astype(float)) == 1
  order = np.argsort(frequencies, kind="stable")
  assert (np.diff(lengths[order].astype(int)) <= 0).all()  # rarer is never shorter


@given(message=escaped_message(), data=st.binary(max_size=60))
@bounded(max_examples=200)
def test_rans_accepts_only_what_an_encoder_makes(message, data):
  _, indexes, table_set = message
  try:
    decoded = rans.decode(data, indexes, table_set)
  except BitstreamError:
    return
  assert rans.encode(decoded, indexes, table_set) == data


@given(message=escaped_message(), data=st.binary(max_size=60))
@bounded(max_examples=200)
def test_huffman_accepts_only_what_stands_for_its_symbols(message, data):
  _, indexes, table_set = message
  try:
    decoded = huffman.decode(data, indexes, table_set)
  except BitstreamError:
    return
  if data[data[0] + 1] == 1:  # one lane: this encoder's choice for few symbols
    assert huffman.encode(decoded, indexes, table_set) == data


@CODERS
@given(message=plain_message(), seed=st.integers(0, 1 << 30))
@bounded(max_examples=50)
def test_damaged_sections_never_hang_nor_break_otherwise(coder, message, seed):
  _, indexes, table_set = message
  rng = np.random.default_rng(seed)
  data = bytearray(coder.encode(*message))
  for _ in range(10):
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    cut = rng.integers(len(data) + 1)
    for wrong in (data[:cut], data, data + b"\1"):
      with contextlib.suppress(BitstreamError):
        assert coder.decode(bytes(wrong), indexes, table_set).shape == indexes.shape


names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=32)
headers = st.builds(
  Header,
  model_id=names,
  model_hash=st.binary(min_size=8, max_size=8),
  kind=st.sampled_from(Kind),
  height=st.integers(1, 1 << 14),
  width=st.integers(1, 1 << 14),
  parameters=st.binary(max_size=255),
  symbol_checksum=st.none() | st.integers(0, (1 << 32) - 1),
)
contents = st.tuples(
  headers,
  st.lists(st.binary(max_size=200), max_size=5),
  st.dictionaries(names, st.binary(max_size=300), max_size=3),
)


@given(content=contents)
@bounded()
def test_unpack_inverts_pack(content):
  container = unpack(pack(*content))
  assert (container.header, list(container.sections), container.metadata) == content


@given(content=contents, seed=st.integers(0, 1 << 30))
@bounded()
def test_any_wrong_byte_of_a_container_raises(content, seed):
  data, rng = pack(*content), np.random.default_rng(seed)
  position = int(rng.integers(len(data)))
  flipped = bytes([data[position] ^ int(rng.integers(1, 256))])
  extra = rng.bytes(int(rng.integers(1, 5)))
  for wrong in (
    data[:position] + flipped + data[position + 1 :],
    data[:position],
    data[:position] + data[position + 1 :],
    data[:position] + extra + data[position:],
    data + extra,
  ):
    if wrong != data:
      with pytest.raises(BitstreamError, match=r"section '.*', byte \d+|^not a CAE file"):
        unpack(wrong)


@given(data=st.binary(max_size=100), content=contents, position=st.integers(0, 60))
@bounded(max_examples=300)
def test_a_forged_checksum_meets_checked_fields(data, content, position):
  body = pack(*content)[:-4]
  body = body[: 5 + position] + data + body[5 + position + len(data) :]
  forged = body + zlib.crc32(body).to_bytes(4, "little")
  with contextlib.suppress(BitstreamError):
    container = unpack(forged)
    assert unpack(pack(container.header, container.sections, container.metadata)) == container


@given(values=st.lists(st.integers(0, (1 << 35) - 1), max_size=50))
@bounded()
def test_varint_arrays_are_varints(values):
  data = write_varints(np.array(values, np.uint64))
  assert data == b"".join(write_varint(value) for value in values)
  assert read_varints(data, "test").tolist() == values


@given(value=st.integers(0, (1 << 62) - 1), tail=st.binary(max_size=3))
@bounded()
def test_varints_end_where_they_end(value, tail):
  reader = ByteReader(write_varint(value) + tail, "test")
  assert reader.varint(1 << 62, "value") == value
  assert reader.rest() == tail


@given(data=st.binary(max_size=30))
@bounded(max_examples=300)
def test_read_varints_accepts_only_shortest_forms(data):
  try:
    values = read_varints(data, "test")
  except BitstreamError:
    return
  assert write_varints(values) == data
