import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.models import context, init_params
from cae_jax.models.arrays import polynomial
from cae_jax.models.context import ContextModel, start_from_klt
from cae_jax.models.context.passes import Pass
from cae_jax.models.context.synthesis import HostSynthesis, join_levels, split_levels
from cae_jax.models.context.transforms import klt
from cae_jax.models.exact.cells import PATTERNS, at_cells, cells_mask, from_cells
from cae_jax.models.laplacian import symbol_bits

SMALL = ContextModel(
  channels=(16, 16), blocks=(1, 1), groups=(4, 4), group_steps=(2, 1), width=16,
  fine_groups=(1, 3), fine_group_steps=(4, 1), fine_width=8, fine_value_channels=2,
  fine_features=4, hyper_channels=4, hyper_features=8,
)  # fmt: skip


def photos(count, side=64, seed=0):
  """Smooth random pictures: uint8 [count, side, side, 3]."""
  rng = np.random.default_rng(seed)
  waves = rng.normal(size=(count, side, side, 3)).cumsum(axis=1).cumsum(axis=2)
  waves -= waves.mean(axis=(1, 2), keepdims=True)
  return np.clip(127.5 + 60 * waves / waves.std(axis=(1, 2, 3), keepdims=True), 0, 255).astype(
    np.uint8
  )


def blocks_of(images):
  n, side = images.shape[:2]
  split = images.reshape(n, side // 16, 16, side // 16, 16, 3).swapaxes(2, 3)
  return split.reshape(-1, 16, 16, 3)


@pytest.fixture(scope="module")
def random_params():
  return init_params(SMALL, 0)


@pytest.fixture(scope="module")
def params(random_params):
  return start_from_klt(SMALL, random_params, *klt(blocks_of(photos(24)), 8, 4))


@pytest.fixture(scope="module")
def rounded(params):
  """Images and trade-offs -> CodedOutput; any number of images up to 4 in one compiled program."""
  run = jax.jit(lambda x, u: SMALL.apply({"params": params}, x, u, method="rounded"))

  def padded(x, u):
    fill = 4 - len(x)
    u = np.pad(np.asarray(u), (0, fill))  # NumPy's arrays have no weak types: another program
    output = run(np.pad(x, ((0, fill), (0, 0), (0, 0), (0, 0))), u)
    return jax.tree.map(lambda a: a[: len(x)], output)

  return padded


@pytest.fixture(scope="module")
def noisy(params):
  """The gradient of a rate-distortion cost and the output, of four pictures at u = 0.5."""
  x = photos(4).astype(np.float32) / 255

  def cost(p):
    key = jax.random.key(1)
    output = SMALL.apply({"params": p}, x, jnp.full(4, 0.5), key=key, method="noisy")
    bits = jnp.sum(output.y_bits + output.z_bits)
    return bits / x.size + jnp.mean(jnp.square(output.x_hat - x)) * 255**2, output

  return jax.jit(jax.grad(cost, has_aux=True))(params)


def test_klt_is_orthonormal_and_sorted():
  axes, sizes = klt(blocks_of(photos(24)), 24)
  np.testing.assert_allclose(axes.T @ axes, np.eye(24), atol=1e-5)
  assert (np.diff(sizes) <= 0).all()
  samples = blocks_of(photos(24)).reshape(-1, 768) - 127.5
  np.testing.assert_allclose(np.sqrt(np.mean((samples @ axes) ** 2, axis=0)), sizes, rtol=1e-3)


def test_klt_in_two_resolutions():
  axes, sizes = klt(blocks_of(photos(24)), 8, 4)
  np.testing.assert_allclose(axes.T @ axes, np.eye(24), atol=1e-5)
  assert (np.diff(sizes[:8]) <= 0).all()
  assert (np.diff(sizes[8:]) <= 0).all()
  samples = blocks_of(photos(24)).reshape(-1, 768) - 127.5
  measured = np.mean((samples @ axes) ** 2, axis=0)
  np.testing.assert_allclose(np.sqrt(measured[:8]), sizes[:8], rtol=1e-3)
  np.testing.assert_allclose(np.sqrt(measured[8:].reshape(4, 4).mean(0)), sizes[8:], rtol=1e-3)
  # A fine axis lives in one 8x8 block, and the next block's is the same there.
  fine = axes[:, 8:].reshape(2, 8, 2, 8, 3, 2, 2, 4)
  np.testing.assert_array_equal(fine[0, :, 0, :, :, 0, 0], fine[1, :, 0, :, :, 1, 0])
  np.testing.assert_array_equal(fine[0, :, 0, :, :, 0, 1], 0)


def test_grey_pictures_give_a_start_that_is_finite(random_params):
  grey = np.repeat(photos(24)[..., :1], 3, axis=-1)
  start = start_from_klt(SMALL, random_params, *klt(blocks_of(grey), 8, 4))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(start))


def test_it_is_validated_at_rates_that_it_learns():
  assert SMALL.valid_tradeoffs == (-0.9, -0.3, 0.3, 0.9)
  narrow = SMALL.clone(lmbda_min=0.02, lmbda_max=0.1)
  low, high = narrow.tradeoff_range
  assert len(narrow.valid_tradeoffs) == 4
  assert all(low < u < high for u in narrow.valid_tradeoffs)
  with pytest.raises(UsageError, match=r"lmbda_min 0\.2: expected at most lmbda_max, 0\.1"):
    SMALL.clone(lmbda_min=0.2, lmbda_max=0.1).tradeoff_range  # noqa: B018


def test_one_resolution_is_enough():
  """Without fine groups: the 16x16 KLT and the coarse passes alone."""
  model = SMALL.clone(fine_groups=(), fine_group_steps=())
  start = start_from_klt(model, init_params(model, 0), *klt(blocks_of(photos(24)), 8))
  x = photos(2).astype(np.float32) / 255
  run = jax.jit(lambda x, u: model.apply({"params": start}, x, u, method="rounded"))
  output = run(x, jnp.zeros(2))
  axes, _ = klt(blocks_of(photos(24)), 8)
  assert "bridge" not in start
  assert output.y_bits.shape == (2,)
  blocks = (blocks_of(x) - 0.5).reshape(-1, 768)
  expected = (blocks @ axes @ axes.T).reshape(-1, 16, 16, 3) + 0.5
  assert np.sqrt(np.mean((blocks_of(output.x_hat) - expected) ** 2)) < 0.05


@jax.jit
def _quantizable(params, y, tradeoff):
  return SMALL.apply({"params": params}, y, tradeoff, method="quantizable")


def test_starts_as_the_block_transform(params):
  """Before the first step, analysis and synthesis are the KLT and its inverse."""
  x = photos(2).astype(np.float32) / 255
  y = jax.jit(lambda x: SMALL.apply({"params": params}, x, method="analyse"))(x)
  axes, _ = klt(blocks_of(photos(24)), 8, 4)
  blocks = (blocks_of(x) - 0.5).reshape(-1, 768) * 255
  np.testing.assert_allclose(y.reshape(-1, 24), blocks @ axes, atol=0.05)
  tradeoff = jnp.array([-0.5, 0.5])
  steps, _ = _quantizable(params, y, tradeoff)
  x_hat = jax.jit(lambda y: SMALL.apply({"params": params}, y, tradeoff, method="synthesise"))(
    steps
  )
  expected = (blocks @ axes @ axes.T).reshape(-1, 16, 16, 3) / 255 + 0.5
  np.testing.assert_allclose(blocks_of(x_hat), expected, atol=1e-3)


def test_steps_follow_lmbda(params):
  y = jnp.ones((2, 4, 4, 24))
  tradeoff = jnp.array([-1.0, 1.0])
  steps, _ = _quantizable(params, y, tradeoff)
  ratio = steps[1] / steps[0]
  np.testing.assert_allclose(ratio, np.sqrt(100), rtol=1e-5)
  np.testing.assert_allclose(SMALL.lmbda(tradeoff), [0.0009, 0.09], rtol=1e-5)


def test_rate_rises_and_distortion_falls_with_the_tradeoff(rounded):
  x = photos(3).astype(np.float32) / 255
  rates, errors = [], []
  for u in (-1.0, 0.0, 1.0):
    output = rounded(x, jnp.full(3, u))
    rates.append(float(output.y_bits.sum()))
    errors.append(float(jnp.mean((output.x_hat - x) ** 2)))
  assert rates[0] < rates[1] < rates[2]
  assert errors[0] > errors[1] > errors[2]


def test_images_of_a_batch_do_not_depend_on_each_other(rounded):
  x = photos(3).astype(np.float32) / 255
  tradeoff = jnp.array([-1.0, 0.3, 1.0])
  together = rounded(x, tradeoff)
  for i in range(3):
    alone = rounded(x[i : i + 1], tradeoff[i : i + 1])
    np.testing.assert_allclose(together.y_bits[i], alone.y_bits[0], rtol=1e-4)
    np.testing.assert_allclose(together.x_hat[i], alone.x_hat[0], atol=1e-4)


def test_noisy_output_is_near_the_rounded_one(noisy, rounded):
  """The synthesis sees the same latents, rates are alike."""
  x = photos(4).astype(np.float32) / 255
  expected, (_, output) = rounded(x, jnp.full(4, 0.5)), noisy
  np.testing.assert_allclose(output.y_bits.sum(), expected.y_bits.sum(), rtol=0.1)
  np.testing.assert_allclose(output.x_hat, expected.x_hat, atol=1e-4)


def test_gradients_are_finite_and_reach_every_part(noisy):
  grads, _ = noisy
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  passes = ("context_0", "context_2", "context_7")
  for part in ("analysis", "synthesis", *passes, "prior", "log_gain", "log_step"):
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(grads[part])), part
  assert not np.any(grads["spread"])


@pytest.mark.parametrize("steps", PATTERNS)
def test_steps_share_out_the_positions(steps):
  assert len(PATTERNS[steps]) == steps
  masks = [cells_mask(8, 12, cells) for cells in PATTERNS[steps]]
  assert (np.sum(masks, axis=0) == 1).all()


def test_checkerboard_neighbours_are_known():
  mask = cells_mask(4, 4, PATTERNS[2][0])
  np.testing.assert_array_equal(mask[:2, :2], [[True, False], [False, True]])


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("steps", PATTERNS)
def test_neighbours_coded_before_a_step_are_known(steps, side):
  shape, radius = (24, 16), side // 2
  step_of = np.full(shape, -1)
  for step, cells in enumerate(PATTERNS[steps]):
    step_of[cells_mask(*shape, cells)] = step
  for step, cells in enumerate(PATTERNS[steps]):
    coded = Pass(0, 1, step, steps).coded_before(side)
    for row, column in np.argwhere(step_of == step):
      for i, j in np.ndindex(side, side):
        at = row + cells.spacing * (i - radius), column + cells.spacing * (j - radius)
        if all(0 <= place < most for place, most in zip(at, shape)):
          assert coded[i, j] == (step_of[at] < step)


@pytest.mark.parametrize("cells", [cells for steps in PATTERNS.values() for cells in steps])
def test_cells_go_where_they_came_from(cells):
  x = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
  back = from_cells(at_cells(x, cells), cells)
  np.testing.assert_array_equal(back, x * cells_mask(8, 12, cells)[..., None])


def test_passes_are_causal(params):
  """No pass depends on its own or later symbols: changing them changes no earlier bits."""
  rng = np.random.default_rng(0)
  y = rng.normal(0, 3, (1, 4, 4, 24)).astype(np.float32)
  z_hat, tradeoff = jnp.zeros((1, 1, 1, 4)), jnp.zeros(1)
  noisy_params = jax.tree.map(
    lambda a: np.asarray(a) + rng.normal(0, 0.05, a.shape).astype(np.float32), params
  )
  own_bits = jax.jit(lambda y: _bits_by_pass(noisy_params, y, z_hat, tradeoff))
  before = own_bits(y)
  for depth, level in enumerate(SMALL.levels):
    for number, p in level.passes.items():
      levels = [np.array(part) for part in split_levels(y, 8)]
      now = cells_mask(*levels[depth].shape[1:3], p.cells)
      levels[depth][0, now, p.start : p.stop] += 5
      after = own_bits(join_levels(*levels))
      for a, b in zip(before[:number], after[:number], strict=True):
        np.testing.assert_array_equal(a, b)
      assert (before[number] != after[number]).any()
      assert (before[-1] != after[-1]).any()  # the fine level knows of the coarse one


def test_levels_are_halves_of_one_array():
  y = np.arange(2 * 3 * 24.0).reshape(2, 3, 24)
  coarse, fine = split_levels(y, 8)
  assert coarse.shape == (2, 3, 8)
  assert fine.shape == (4, 6, 4)
  np.testing.assert_array_equal(coarse, y[..., :8])
  np.testing.assert_array_equal(fine[2, 5], y[1, 2, 12:16])  # first row, second column of the cell
  np.testing.assert_array_equal(join_levels(coarse, fine), y)


def _bits_by_pass(params, y, z_hat, tradeoff):
  """Bits of each pass's latents, by listening to how the model counts them."""
  seen = []

  def rounded(r, scales, number):
    del number
    seen.append(symbol_bits(jnp.round(r), scales))
    return jnp.round(r), seen[-1]

  SMALL.bind({"params": params})._code(y, z_hat, tradeoff, rounded)
  return seen


def test_log_size():
  x = jnp.array([0.0, 1.0, -3.0, 2047.0, 2.0])
  np.testing.assert_allclose(context.log_magnitude(x), [0, 1, 2, 11, 1.5], atol=1e-6)
  slopes = jax.vmap(jax.grad(context.log_magnitude))(jnp.array([0.5, -2.0, 6.5]))
  np.testing.assert_allclose(slopes, [1, -1 / 2, 1 / 4])


def test_polynomial():
  coefficients = jnp.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
  values = polynomial(coefficients, jnp.array([0.0, 1.0, -1.0]))
  assert values.shape == (3, 1, 1, 2)
  np.testing.assert_allclose(values[:, 0, 0, 0], [1, 111, 91])


@pytest.mark.parametrize("fine", [True, False])
def test_the_synthesis_is_the_same_in_numpy(fine):
  """Up to rounding of floats: with fine latents and without, at the border and within."""
  model = SMALL if fine else dataclasses.replace(SMALL, fine_groups=(), fine_group_steps=())
  model = dataclasses.replace(model, blocks=(2, 1))
  rng = np.random.default_rng(0)
  random = lambda a: np.float32(rng.normal(0, 0.2, a.shape))
  params = jax.tree.map(random, jax.eval_shape(model.random_params, jax.random.key(0)))
  y_hat = np.float32(rng.normal(0, 3, (1, 5, 3, model.latent_channels)))
  tradeoff = np.full(1, 0.7, np.float32)
  synthesise = HostSynthesis(params, 8, model.blocks)
  found = synthesise(y_hat, tradeoff)
  last_first = lambda function, items: [*map(function, [*items][::-1])][::-1]
  some_rows = synthesise(y_hat, tradeoff, lambda x: x[..., :1], last_first)
  np.testing.assert_array_equal(some_rows, found[..., :1])
  run = jax.jit(functools.partial(model.apply, method="synthesise"))
  expected = np.asarray(run({"params": params}, y_hat, tradeoff))
  assert found.dtype == np.float32
  spread = np.ptp(255 * expected)
  assert spread > 20
  # Sums of this size are rounded, on every processor in another order.
  np.testing.assert_allclose(255 * found, 255 * expected, rtol=1e-5, atol=2e-6 * spread)
