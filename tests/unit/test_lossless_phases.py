import numpy as np
import pytest

from cae_jax.models.lossless import phases

SHAPES = [(1, 1), (1, 7), (6, 1), (2, 2), (5, 5), (17, 9), (33, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_planes_hold_every_pixel_once(shape):
  x = np.random.default_rng(0).integers(0, 256, (3, *shape))
  planes = phases.split(x)
  np.testing.assert_array_equal(phases.join(planes), x)
  assert sum(np.prod(phases.plane_shape(shape, p)) for p in range(4)) == np.prod(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_levels_end_at_a_few_pixels(shape):
  shapes = [*phases.level_shapes(shape), None]
  here = shape
  for expected in shapes[:-1]:
    assert here == expected
    here = phases.plane_shape(here, 0)
  assert max(here) <= phases.COARSEST


@pytest.mark.parametrize("phase", phases.PHASES)
def test_neighbours_are_known_pixels_by_distance(phase):
  row, column = phases.PARITIES[phase.plane]
  offsets = np.array(
    [
      (2 * i + phases.PARITIES[p][0] - row, 2 * j + phases.PARITIES[p][1] - column)
      for p, i, j in phase.neighbours
    ]
  )
  assert all(p < phase.plane for p, *_ in phase.neighbours)
  assert len({tuple(o) for o in offsets}) == len(offsets)
  distances = (offsets**2).sum(1)
  assert (np.diff(distances) >= 0).all()
  assert np.abs(offsets[:4].sum(0)).max() == 0  # the four closest surround the pixel


@pytest.mark.parametrize("phase", phases.PHASES)
def test_around_reads_the_neighbours_of_an_image(phase):
  x = np.random.default_rng(1).integers(0, 256, (2, 12, 14))
  planes = phases.split(x)
  row, column = phases.PARITIES[phase.plane]
  for p, i, j in phase.neighbours:
    values = planes.around((p, i, j), slice(3, 4), 7)
    y = 2 * (3 + i) + phases.PARITIES[p][0]
    xs = 2 * (3 + j) + phases.PARITIES[p][1]
    if 0 <= y < 12 and 0 <= xs < 14:
      np.testing.assert_array_equal(values[:, 0, 3], x[:, y, xs])
  assert (row, column) == phases.PARITIES[phase.plane]


def test_borders_repeat():
  planes = phases.split(np.arange(24).reshape(1, 4, 6))
  values = planes.values[0, 0]
  np.testing.assert_array_equal(values[0], values[phases.MARGIN])
  np.testing.assert_array_equal(values[:, -1], values[:, -1 - phases.MARGIN])


def test_chunks_cover_the_rows():
  chunks = list(phases.row_chunks((10, 30), 100))
  assert [r.start for r in chunks] == [0, 3, 6, 9]
  assert chunks[-1].stop == 10
  assert list(phases.row_chunks((0, 30), 100)) == []
