"""The coder of drawings and of opacity: what it codes, how small, and what damage does."""

import io
import lzma
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cae_jax.codec.lossless import filters, forms, plain
from cae_jax.codec.lossless.plain import decode_plain, encode_plain, estimate_plain
from cae_jax.coding.errors import BitstreamError
from cae_jax.images.png import paeth

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
ROWS, COLUMNS = np.mgrid[:60, :80]
DISC = np.where(np.hypot(COLUMNS - 40, ROWS - 30) < 25, 255, 0).astype(np.uint8)[..., None]
SHADOW = np.clip(9 * np.hypot(COLUMNS - 40, ROWS - 30), 0, 255).astype(np.uint8)[..., None]


def drawing(width=160, height=120) -> np.ndarray:
  """Text, shapes and edges between."""
  image = Image.new("RGB", (2 * width, 2 * height), "white")
  draw = ImageDraw.Draw(image)
  for i in range(12):
    corner = RNG.integers(0, width), RNG.integers(0, height)
    draw.ellipse((*corner, corner[0] + 50, corner[1] + 30), fill=(20 * i, 200 - 9 * i, 60))
    draw.text((int(corner[1]), int(corner[0])), f"number {i}", fill=(0, 0, 10 * i))
  return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


GRADIENT = np.stack([3 * COLUMNS, 4 * ROWS, COLUMNS + ROWS], -1).astype(np.uint8)
WIDE = (1000 * SHADOW.astype(np.uint16) // 7).astype(np.uint16)
IMAGES = {
  "one pixel": NOISE[:1, :1],
  "one row": NOISE[:1],
  "one column": NOISE[:, :1],
  "black": np.zeros((33, 47, 4), np.uint8),
  "noise": NOISE,
  "two colours": np.where(DISC > 0, NOISE[0, 0], NOISE[0, 1]),
  "drawing": drawing(),
  "gradient": GRADIENT,
  "disc": DISC,
  "shadow": SHADOW,
  "grey and alpha": np.concatenate([SHADOW, DISC], 2),
  "16 bits": WIDE,
  "16 bits, colours": np.concatenate([WIDE, WIDE // 3, WIDE // 5], 2),
  "16 bits, noise": RNG.integers(0, 1 << 16, (20, 30, 2), dtype=np.uint16),
  "16 bits, two colours": np.where(DISC > 0, np.uint16(7), np.uint16(40_000)),
}


def decoded_like(section: bytes, image: np.ndarray) -> np.ndarray:
  return decode_plain(section, image.shape, image.dtype)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_every_sample_comes_back(image):
  section = encode_plain(image)
  assert len(section) <= image.nbytes + 1
  decoded = decoded_like(section, image)
  assert decoded.dtype == image.dtype
  assert decoded.flags.c_contiguous
  assert decoded.flags.writeable
  np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(
  "name", ["two colours", "drawing", "gradient", "disc", "shadow", "grey and alpha"]
)
def test_no_larger_than_its_png(name):
  buffer = io.BytesIO()
  image = IMAGES[name]
  Image.fromarray(image.squeeze()).save(buffer, "PNG", optimize=True)
  assert len(encode_plain(image)) < len(buffer.getvalue())


def test_of_one_colour_there_is_the_colour():
  assert encode_plain(np.full((500, 500, 1), 255, np.uint8)) == b"\0\xff"
  assert encode_plain(np.full((3, 2, 2), 258, np.uint16)) == b"\0\2\1\2\1"


@pytest.mark.parametrize(
  ("name", "method", "size"),
  [
    ("noise", plain._STORED, NOISE.nbytes + 1),
    ("16 bits, noise", plain._STORED, 20 * 30 * 2 * 2 + 1),
    ("two colours", plain._COLOURS, 150),
    ("16 bits, two colours", plain._COLOURS, 150),
  ],
)
def test_what_it_takes_for_what(name, method, size):
  section = encode_plain(IMAGES[name])
  assert section[0] == method
  assert len(section) <= size


def test_excerpts_stand_for_a_larger_image():
  image = np.tile(np.concatenate([drawing(), drawing()], 1), (3, 1, 1))
  section = encode_plain(image)
  np.testing.assert_array_equal(decoded_like(section, image), image)
  assert 0.2 < estimate_plain(image) / len(section) < 5


def test_the_estimate_tells_drawings_from_noise():
  bits = {name: 8 * estimate_plain(IMAGES[name]) / IMAGES[name].size for name in IMAGES}
  assert bits["noise"] > 7.9
  assert max(bits["drawing"], bits["two colours"], bits["disc"]) < 2


def test_a_large_image_is_tried_in_one_form_only(monkeypatch):
  coded = []

  def code(candidate, preset):
    coded.append((candidate.x.size, preset))
    return encode(candidate, preset)

  encode = plain._Candidate.code
  monkeypatch.setattr(plain._Candidate, "code", code)
  monkeypatch.setattr(plain, "_LARGE", 1000)
  np.testing.assert_array_equal(decoded_like(encode_plain(SHADOW), SHADOW), SHADOW)
  assert [preset for size, preset in coded if size == SHADOW.size] == [plain._PRESET]


@pytest.mark.parametrize("method", [1, 2])
def test_the_short_forms_are_those_of_opacity(method):
  """As files have held it from the first."""
  samples = SHADOW if method == 1 else np.diff(SHADOW, axis=1, prepend=np.uint8(0))
  chain = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 23}]
  section = bytes([method]) + lzma.compress(samples.tobytes(), lzma.FORMAT_RAW, filters=chain)
  np.testing.assert_array_equal(decoded_like(section, SHADOW), SHADOW)


def test_every_form_that_fits_is_undone():
  undone = [byte for byte in range(256) if is_undone(byte)]
  assert len(undone) == 5 * 2 * 2 * 2 + 2 * 3  # of 8 and 16 bits; packed


def is_undone(byte: int) -> bool:
  form = forms.Form.from_byte(byte)
  assert form.to_byte() == byte
  image = IMAGES["16 bits, colours" if form.apart else "drawing"][:19, :23]
  if form.packing:
    image = np.ascontiguousarray(DISC[:19, :23] & ((1 << (8 >> form.packing)) - 1))
  try:
    forms.check(form, image.shape, image.dtype)
  except BitstreamError:
    return False
  data = forms.to_bytes(image, form)
  if form.packing and form.filter:
    return False  # differences do not fit into fewer bits
  assert len(data) == forms.byte_count(image.shape, image.dtype, form)
  np.testing.assert_array_equal(forms.from_bytes(data, image.shape, image.dtype, form), image)
  return True


@pytest.mark.parametrize("kind", [filters.PAETH, filters.BY_ROW])
@pytest.mark.parametrize(
  "shape", [(1, 9, 1), (9, 1, 2), (2, 11, 1), (9, 3, 3), (7, 12, 3), (12, 7, 4)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("long", [0, 1 << 20], ids=["diagonals", "samples"])
def test_rows_are_restored_as_those_of_png(kind, shape, dtype, long, monkeypatch):
  monkeypatch.setattr(filters, "_LONG", long)
  differences = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
  rows = RNG.integers(0, 4, shape[0]) if kind == filters.BY_ROW else np.full(shape[0], kind)
  expected = np.zeros((shape[0] + 1, shape[1] + 1, shape[2]), int)
  for i, j, c in np.ndindex(*shape):
    left, up, corner = expected[i + 1, j, c], expected[i, j + 1, c], expected[i, j, c]
    nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
    prediction = (0, left, up, nearest)[rows[i]]
    expected[i + 1, j + 1, c] = (int(differences[i, j, c]) + prediction) & np.iinfo(dtype).max
  restored = filters.restore(differences, kind, rows.astype(np.uint8))
  np.testing.assert_array_equal(restored, expected[1:, 1:])


@pytest.mark.parametrize("kind", [filters.PAETH, filters.BY_ROW])
@pytest.mark.parametrize("shape", [(1, 3000, 1), (2, 3000, 3), (3000, 1, 2), (3000, 3, 1)])
def test_strips_take_no_step_for_every_short_diagonal(kind, shape, monkeypatch):
  image = RNG.integers(0, 256, shape, dtype=np.uint8)
  differences, rows = filters.predict(image, kind)
  steps = []
  monkeypatch.setattr(filters, "paeth", lambda *given: steps.append(given) or paeth(*given))
  np.testing.assert_array_equal(filters.restore(differences, kind, rows), image)
  assert 50 * len(steps) <= image.size


DAMAGED = ["one row", "black", "noise", "two colours", "drawing", "disc", "16 bits, colours"]


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_or_gives_an_image_of_that_size(name):
  image = np.ascontiguousarray(IMAGES[name][:24, :24])
  section = encode_plain(image)
  wrong = [section[:end] for end in range(0, len(section), max(1, len(section) // 40))]
  wrong += [section + b"\0", section + section]
  for place in range(0, len(section), max(1, len(section) // 60)):
    for value in (1, 128, 255):
      changed = bytes([section[place] ^ value])
      wrong.append(section[:place] + changed + section[place + 1 :])
  for data in wrong:
    try:
      decoded = decoded_like(data, image)
    except BitstreamError:
      continue
    assert (decoded.shape, decoded.dtype) == (image.shape, image.dtype)


@pytest.mark.parametrize("name", DAMAGED)
def test_bytes_that_are_missing_or_too_many_are_told(name):
  section = encode_plain(IMAGES[name])
  for wrong in (section[:-1], section + b"\0", b""):
    with pytest.raises(BitstreamError):
      decoded_like(wrong, IMAGES[name])


def of_colours(count: int, indexes: bytes, table: bytes = b"\3\1\2\3\4\5\6\7\7\7") -> bytes:
  return bytes([plain._COLOURS, count, len(table)]) + table + b"\3" + indexes


@pytest.mark.parametrize(
  ("section", "message"),
  [
    (b"", "method needs 1 bytes, 0 are left"),
    (b"\0\1\2", "constant needs 3 bytes"),
    (b"\0\1\2\3\4", "bytes follow a constant"),
    (b"\7abc", "unknown method 7"),
    (b"\1\5\5", "the data are damaged"),
    (b"\3abc", "expected 12 bytes of samples and nothing else"),
    (b"\4\5abc", r"the form 5 does not fit uint8 \[2, 2, 3\]"),
    (b"\4\x20abc", "the form 32 does not fit"),
    (b"\4\x80abc", "the form 128 does not fit"),
    (b"\5\0\6abc", "the data are damaged"),
    (of_colours(3, b"\0\1\2\3"), "colour 3 of a table of 3"),
    (of_colours(0, b"\0\1\2\0"), "0 colours of 2 x 2 pixels"),
    (of_colours(5, b"\0\1\2\0"), "5 colours of 2 x 2 pixels"),
    (of_colours(2, b"\0\1\1\0"), "expected 6 bytes of samples"),
    (of_colours(3, b"\0\1\2\0", table=b"\6\1\1\1"), "unknown method 6"),
  ],
)
def test_faults_are_named(section, message):
  with pytest.raises(BitstreamError, match=rf"{message}.*\(section 'plain', byte \d+\)"):
    decode_plain(section, (2, 2, 3), np.uint8)


def test_kinds_of_rows_are_checked():
  data = zlib.compress(bytes(12) + b"\3\4", wbits=-15)
  with pytest.raises(BitstreamError, match="a row has filter 4"):
    decode_plain(b"\5\4" + data, (2, 2, 3), np.uint8)


def test_long_diagonals_are_refused_and_not_written():
  strip = RNG.integers(0, 256, (1, 40_000, 1), dtype=np.uint8).cumsum(1, dtype=np.uint8)
  assert all(form.filter < filters.PAETH for form in plain._forms(strip))
  with pytest.raises(BitstreamError, match="the form 3 does not fit"):
    decode_plain(b"\4\3", strip.shape, np.uint8)


@pytest.mark.parametrize("method", [1, 2, 4, 5])
def test_a_bomb_takes_no_more_than_the_image(method):
  zeros = bytes(1 << 25)
  chain = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 23}]
  lzma2 = lzma.compress(zeros, lzma.FORMAT_RAW, filters=chain)
  section = bytes([method, 0][: 1 + (method >= 4)])
  section += zlib.compress(zeros, wbits=-15) if method == 5 else lzma2
  tracemalloc.start()
  with pytest.raises(BitstreamError, match="expected 16 bytes of samples"):
    decode_plain(section, (4, 4, 1), np.uint8)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 10 << 20
