"""Tables of colours, and drawings with fewer of them."""

import numpy as np
import pytest

from cae_jax.codec.lossless.colours import are_few, fewer, numbered

RNG = np.random.default_rng(0)


def shaded(dtype=np.uint8, channels=3) -> np.ndarray:
  """A panel on a page, a grey level apart, and between them a column of every shade of an edge."""
  unit = dtype(1 if dtype == np.uint8 else 257)
  image = np.full((64, 96, channels), 250, dtype)
  image[:, 48:] = 246
  image[:, 40] = np.arange(0, 64, dtype=dtype)[:, None]
  return image * unit


def colours_of(image: np.ndarray) -> np.ndarray:
  return np.unique(image.reshape(-1, image.shape[2]), axis=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "unit"), [(np.uint8, 1), (np.uint16, 257)])
def test_shades_become_fewer_and_areas_stay_apart(dtype, unit, channels):
  image = shaded(dtype, channels)
  drawn = fewer(image, 8 * unit)
  assert drawn.dtype == dtype
  # Those that stay are 9 apart, and each of the others is at most half as far from one.
  assert np.abs(drawn.astype(int) - image).max() == 4 * unit
  assert len(colours_of(drawn)) == 2 + 8
  # Though the two are within the error of each other.
  frequent = np.delete(np.arange(96), 40)
  np.testing.assert_array_equal(drawn[:, frequent], image[:, frequent])


def test_each_colour_becomes_the_nearest_that_stays():
  image = shaded()
  drawn = fewer(image, 8)
  kept = colours_of(drawn).astype(int)
  for colour, instead in zip(image[:, 40].astype(int), drawn[:, 40].astype(int), strict=True):
    distances = np.square(kept - colour).sum(axis=1)
    assert np.square(instead - colour).sum() == distances.min()


def test_a_grey_becomes_a_grey_rather_than_a_tint_that_is_closer():
  image = np.full((64, 64, 3), 250, np.uint8)
  image[:8, :8], image[8:16, :8], image[:, 63] = (120, 120, 120), (150, 150, 174), (144, 144, 144)
  image[::2, 62] = 250
  drawn = fewer(image, 30)
  assert drawn[0, 63].tolist() == [120, 120, 120]


def test_no_error_is_no_change():
  image = shaded()
  assert fewer(image, 0) is image


def test_photographs_are_no_drawings():
  photograph = RNG.integers(0, 256, (160, 160, 3), np.uint8)
  assert not are_few(photograph)
  assert fewer(photograph, 9) is photograph
  assert are_few(shaded())


def test_so_many_pixels_that_counting_takes_gigabytes_are_left_alone(monkeypatch):
  image = shaded()
  monkeypatch.setattr("cae_jax.codec.lossless.colours._MOST_PIXELS", image.size // 3 - 1)
  assert not are_few(image)
  assert fewer(image, 8) is image


def test_many_colours_take_no_table():
  every = np.arange(1 << 18, dtype=np.uint32).view(np.uint8).reshape(512, 512, 4)[..., :3]
  every = np.ascontiguousarray(every)
  assert not list(numbered(every))
  assert not are_few(every)


def test_colours_are_numbered():
  image = shaded()
  for table, numbers in numbered(image):
    assert len(table) == 66
    np.testing.assert_array_equal(table[numbers[..., 0]], image)


@pytest.mark.parametrize("largest_error", [1, 5, 40])
def test_each_becomes_the_nearest_of_those_that_stay_by_trying_all(largest_error):
  palette = np.unique(RNG.integers(0, 256, (300, 3), dtype=np.uint8), axis=0)
  image = palette[np.repeat(RNG.integers(0, len(palette), (64, 32)), 8, axis=1)]
  drawn = fewer(image, largest_error)
  kept = colours_of(drawn).astype(int)
  for before, after in zip(image[:, ::8].reshape(-1, 3), drawn[:, ::8].reshape(-1, 3).astype(int)):
    differences = kept - before
    of_hue = differences - differences[:, [1]]
    costs = np.square(differences).sum(1) + 4 * np.square(of_hue).sum(1)
    near = np.abs(differences).max(1) <= largest_error
    assert near[(kept == after).all(1)].all()
    assert costs[(kept == after).all(1)][0] == costs[near].min()
