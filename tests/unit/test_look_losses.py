"""The losses of a look's players: whose gradient is whose, and what weighs how much."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.codec.coders.programs import on_device
from cae_jax.models.base import CodedOutput
from cae_jax.models.context import ContextModel
from cae_jax.models.context.look import changed_part
from cae_jax.models.discriminator import PatchDiscriminator
from cae_jax.training.look import DISCRIMINATOR, LOOK, LookConfig, LookGame
from tests.models import context_weights, hasty_pass, photo

BATCH = {"image": np.stack([photo(64, 64, seed) for seed in range(2)])}
KEY = jax.random.key(4)  # of a strength in the middle


class Hasty(ContextModel):
  """Rounds without the passes, which take most of the time to compile."""

  rounded = hasty_pass


@functools.cache
def game(**config):
  weights = context_weights()
  fields = {k: tuple(v) if isinstance(v, list) else v for k, v in weights.config.items()}
  return LookGame(
    Hasty(**{k: v for k, v in fields.items() if k != "model"}),
    on_device(weights.params),
    PatchDiscriminator((4, 6, 8), 5),
    LookConfig(**config),
  )


@pytest.fixture(scope="module")
def params():
  """As after some steps."""
  shapes = jax.eval_shape(game().random_params, jax.random.key(0))
  rng = np.random.default_rng(0)
  normal = lambda tree, size: jax.tree.map(
    lambda a: rng.normal(0, size, a.shape).astype(np.float32), tree
  )
  return {name: normal(tree, 0.02 if name == LOOK else 0.2) for name, tree in shapes.items()}


@pytest.fixture(scope="module")
def played(params):
  """(loss, figures) and gradients of both players' losses.

  The third are those of a look without a discriminator, with the discriminator's gradient alone.
  """

  def all_of(params):
    both = [
      jax.value_and_grad(f, has_aux=True)(params, BATCH, key=KEY) for f in game().losses.values()
    ]
    alone = lambda discriminator: game(adversarial_weight=0.0).look_loss(
      {LOOK: params[LOOK], DISCRIMINATOR: discriminator}, BATCH, key=KEY
    )
    return *both, jax.value_and_grad(alone, has_aux=True)(params[DISCRIMINATOR])

  return jax.device_get(jax.jit(all_of)(params))


def _norm(tree):
  return sum(float(np.square(a).sum()) for a in jax.tree.leaves(tree)) ** 0.5


def test_the_discriminator_has_no_say_in_what_it_judges(played):
  (_, figures), gradient = played[0]
  assert _norm(gradient[DISCRIMINATOR]) > 0
  assert _norm(gradient[LOOK]) == 0
  assert 0 <= figures["right"] <= 1


def test_every_parameter_of_the_look_has_a_gradient(played):
  (_, figures), gradient = played[1]
  assert all(np.abs(a).max() > 0 for a in jax.tree.leaves(gradient[LOOK]))
  assert 0 < figures["strength"] < 1


def test_terms_can_be_left_out(played):
  (whole, figures), _ = played[1]
  (rest, others), of_discriminator = played[2]
  assert others.keys() == figures.keys() - {"adversarial"}
  assert _norm(of_discriminator) == 0
  expected = 0.1 * figures["strength"] * figures["adversarial"]
  assert whole - rest == pytest.approx(expected, rel=1e-3)
  assert game(adversarial_weight=0.0).losses.keys() == {LOOK}


def test_strong_looks_are_of_low_rates():
  """Pairs of B and trade-off are those that decoding can have: B up to what the fade leaves."""
  low, high = game().model.tradeoff_range
  still = {LOOK: jax.tree.map(jnp.zeros_like, changed_part(context_weights().params))}

  def drawn(key):
    seen, strength = game()._played(still, BATCH, key)
    return strength, seen.tradeoff

  draw = jax.jit(drawn)
  for seed in range(8):
    strength, tradeoffs = draw(jax.random.key(seed))
    quality = 100 * (np.asarray(tradeoffs) - low) / (high - low)
    assert (quality >= 0).all()
    assert (strength <= np.clip((80 - quality) / 35, 0, 1) + 1e-5).all()


def test_strengths_are_mostly_near_one(monkeypatch):
  monkeypatch.setattr(jax.random, "uniform", lambda _: jnp.float32(0.25))
  monkeypatch.setattr("cae_jax.training.look.spread_evenly", lambda *_: jnp.zeros(2))
  monkeypatch.setattr(LookGame, "_decoded", lambda *_: None)
  assert game()._played({}, BATCH, KEY)[1] == 0.5


def test_validation_is_of_the_full_look(params):
  errors = jax.jit(game().errors)
  still = {**params, LOOK: jax.tree.map(jnp.zeros_like, params[LOOK])}
  with_look, without = errors(params, BATCH), errors(still, BATCH)
  assert all(values.shape == (2,) for values in with_look.values())
  np.testing.assert_array_equal(without["psnr_loss_db"], 0)
  np.testing.assert_array_equal(without["texture"], without["texture_before"])
  assert (np.abs(with_look["psnr_loss_db"]) > 0).all()


# ---- What they come to, by hand ----


class Adding:
  """In the place of a model: its latents are the picture, and its synthesis adds a bias."""

  tradeoff_range = valid_tradeoffs = (0.0, 1.0)

  def lmbda(self, tradeoff):
    return jnp.where(tradeoff < 0.9, 0.036, 1.0)  # at the last there is no look any more

  def apply(self, variables, x, tradeoff, *, method):
    del tradeoff
    x_hat = x + variables["params"]["synthesis"]["bias"]
    no_bits = jnp.zeros(len(x))
    return CodedOutput(x_hat, x, no_bits, no_bits) if method == "rounded" else x_hat


def _told(variables, picture, y_hat, conditions):
  """Logits of a discriminator that is right: 2 of photographs, -1 of others."""
  del variables, conditions
  is_photograph = (picture == y_hat).all(axis=(1, 2, 3), keepdims=True)
  return jnp.where(is_photograph, 2.0, -1.0)[..., 0]


SOFTPLUS_1 = np.log1p(np.e)
STRIPES = jnp.zeros((64, 64, 3)).at[::2].set(2 / 255)
STRIPED = {LOOK: {"synthesis": {"bias": STRIPES}}, DISCRIMINATOR: {}}


@pytest.fixture
def by_hand():
  """A game of pictures a level too bright, to which the look adds stripes of two; textures cost 5.

  So at a strength of 1 the MSE is 5, and what repeats 16.
  """
  texture = lambda rgb, decoded: jnp.full(len(rgb), 5.0)
  return LookGame(
    Adding(),
    {"synthesis": {"bias": 1 / 255}},
    types.SimpleNamespace(apply=_told),
    LookConfig(texture=texture),
  )


def test_what_the_full_look_costs(by_hand):
  """At the one trade-off at which it counts in full; 0.018 is the root of 0.036 * 0.009."""
  costs = by_hand.errors(STRIPED, BATCH)["loss"]
  expected = 0.018 * (5 + 0.5 * 16 + 5) + 0.1 * SOFTPLUS_1
  np.testing.assert_allclose(costs, [expected] * 2, rtol=1e-5)


def test_strength_weighs_what_asks_for_realism(by_hand):
  cost, figures = by_hand.look_loss(STRIPED, BATCH, key=KEY)
  strength = figures["strength"]
  mse, repeated = ((1 + 2 * strength) ** 2 + 1) / 2, 16 * strength**2
  realism = 0.018 * 5 + 0.1 * SOFTPLUS_1
  expected = 0.018 * (mse + 0.5 * repeated) + strength * realism
  np.testing.assert_allclose(cost, expected, rtol=1e-4)


def test_a_discriminator_that_is_right_has_a_small_loss(by_hand):
  loss, figures = by_hand.discriminator_loss(STRIPED, BATCH, key=KEY)
  assert loss == pytest.approx(np.log1p(np.exp(-2)) + np.log1p(np.exp(-1)))
  assert figures["right"] == 1


def test_errors_that_the_look_adds_are_a_loss_of_psnr(by_hand):
  loss_db = by_hand.errors(STRIPED, BATCH)["psnr_loss_db"]
  np.testing.assert_allclose(loss_db, [10 * np.log10(5)] * 2, rtol=1e-4)
