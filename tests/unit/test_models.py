"""The contract of `models.base.Model`, for every model there is."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.codec import calibrate_weights, from_weights, windows
from cae_jax.codec.coders import make_coder, programs
from cae_jax.errors import UsageError
from cae_jax.images.tiling import Window
from cae_jax.models import MODELS, build_model, init_params, model_class, settings
from cae_jax.models.configuration import setting_fields
from cae_jax.training.losses import OBJECTIVES, RateDistortionConfig
from cae_jax.training.optimizers import OPTIMIZERS
from cae_jax.weights import Weights, WeightsError, load_weights
from tests.golden import FOLDER
from tests.models import PAPER, context_weights, paper_codec, photo
from tests.trained import CONFIGS

TINY = {
  "paper": {**PAPER},
  # Of few passes, which take long to compile.
  "context": context_weights().config | {"group_steps": [1, 2], "fine_group_steps": [1, 1]},
  "lossless": {"model": "lossless", "trunk_widths": [12, 8], "head_width": 6, "biases": False},
  **CONFIGS,
}
_OF_IMAGES = [name for name in MODELS if model_class(name).objective in OBJECTIVES]
_U = np.zeros(2, np.float32)


def _no_params():
  pytest.fail("makes parameters that it has no use for")


def test_every_model_is_tried():
  assert TINY.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_settings_are_the_fields(name):
  model = build_model(TINY[name])
  assert {"model": name, **settings(model)} == TINY[name]
  assert build_model({"model": name}) == model_class(name)()
  assert "dtype" not in setting_fields(type(model))


@pytest.mark.parametrize("name", MODELS)
def test_a_setting_that_older_weights_lack_has_its_default(name):
  first, *_ = setting_fields(model_class(name))
  config = {k: v for k, v in TINY[name].items() if k != first}
  assert getattr(build_model(config), first) == getattr(model_class(name)(), first)


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_setting_is_named(name):
  with pytest.raises(
    UsageError, match=f"the model '{name}' has no setting colour; expected some of"
  ):
    build_model({**TINY[name], "colour": 1})


@pytest.mark.parametrize("name", MODELS)
def test_what_training_starts_from_has_types_of_its_own(name):
  """A weakly typed array would become another one in the first step, and the second be compiled."""
  params = jax.eval_shape(build_model(TINY[name]).random_params, jax.random.key(0))
  states = {k: jax.eval_shape(optimizer(1e-3).init, params) for k, optimizer in OPTIMIZERS.items()}
  leaves = jax.tree.leaves_with_path((params, states))
  assert [jax.tree_util.keystr(path) for path, leaf in leaves if leaf.weak_type] == []
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", _OF_IMAGES)
def test_transforms_have_the_shapes_of_the_contract(name):
  model = build_model(TINY[name])
  side = 2 * model.multiple
  x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
  params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(x.shape), _U))["params"]
  call = lambda method, *args: jax.eval_shape(
    lambda p, *a: programs.apply(model, p, method, *a), params, *args
  )
  y = call("analyse", x)
  assert y.shape == (2, side // model.stride, side // model.stride, model.latent_channels)
  assert call("scaled_latents", y, _U).shape == y.shape
  assert call("synthesise", y, _U).shape == x.shape
  output = call("__call__", x, _U)
  assert (output.x_hat.shape, output.y_hat.shape) == (x.shape, y.shape)


@pytest.mark.parametrize("name", _OF_IMAGES)
def test_scaled_latents_are_what_is_rounded(name):
  """Without the rounding pictures are no worse, and what is rounded is no more than a step away."""
  weights = load_weights(FOLDER / f"{name}.safetensors")
  model, x = build_model(weights.config), photo(64, 64)[None] / np.float32(255)
  tradeoff = jnp.full(1, np.mean(model.tradeoff_range), jnp.float32)
  apply = functools.partial(programs.apply, model, programs.on_device(weights.params))

  @jax.jit
  def errors():
    y = apply("scaled_latents", apply("analyse", x), tradeoff)
    output, unrounded = apply("__call__", x, tradeoff), apply("synthesise", y, tradeoff)
    again = apply("synthesise", output.y_hat, tradeoff)
    mse = [jnp.mean(jnp.square(255 * (x_hat - x))) for x_hat in (unrounded, output.x_hat)]
    return *mse, jnp.max(jnp.abs(output.y_hat - y)), jnp.max(jnp.abs(again - output.x_hat))

  unrounded, rounded, away, difference = map(float, errors())
  assert unrounded < 1.02 * rounded
  assert away < 1
  assert difference < 1e-4


@pytest.mark.parametrize("name", _OF_IMAGES)
def test_objectives_measure_every_image_and_have_gradients(name):
  model = build_model(TINY[name])
  objective = OBJECTIVES[model.objective]
  config = RateDistortionConfig(halved_chroma=0.5)
  loss_fn, errors_fn = objective.loss(model, config), objective.errors(model, config)
  params, batch = init_params(model, 0), {"image": photo(64, 64)[None].repeat(2, axis=0)}

  def both(params):
    (loss, figures), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
      params, batch, key=jax.random.key(0)
    )
    return loss, figures, gradient, errors_fn(params, batch)

  loss, figures, gradient, errors = jax.jit(both)(params)
  assert np.isfinite([loss, figures["psnr_db"]]).all()
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
  assert {"loss", "psnr_db"} <= errors.keys()
  assert all(values.shape == (2,) for values in errors.values())


@pytest.mark.parametrize("name", ["paper", "hyperprior"])
def test_weights_of_another_network_do_not_grow(name):
  model, other = build_model(TINY[name]), build_model(TINY["factorized"])
  with pytest.raises(UsageError, match=r"of another network \(.* instead of .*give the flags"):
    model.grow(_no_params, other, {})


@pytest.mark.parametrize(
  ("name", "change"),
  [
    ("factorized", {"fixed_lmbda": 0.5}),
    ("hyperprior", {"fixed_lmbda": 0.5}),
    ("paper", {"coding_bits": 5, "latent_bits": 3}),
  ],
)
def test_weights_go_on_at_another_rate(name, change):
  trained = {"a": 1}
  model = build_model(TINY[name] | change)
  assert model.grow(_no_params, build_model(TINY[name]), trained) is trained


def test_an_unknown_model_is_named():
  with pytest.raises(UsageError, match="unknown model 'gan'; choose one of paper, context"):
    build_model({"model": "gan"})


def test_weights_that_are_not_whole_say_what_they_lack():
  weights = context_weights()
  tables = {k: v for k, v in weights.tables.items() if k != "sizes"}
  with pytest.raises(WeightsError, match="lack the table 'sizes'; they have"):
    from_weights(Weights("tiny", weights.config, weights.params, tables))
  with pytest.raises(WeightsError, match="'tiny': the model 'context' has no setting colour"):
    from_weights(Weights("tiny", {**weights.config, "colour": 1}, weights.params, weights.tables))


def test_coders_of_one_network_share_their_programs_and_are_freed():
  first = paper_codec.__wrapped__()
  image = photo(16, 16)
  first.decompress(first.compress(image))
  compiled = programs.analyse._cache_size(), programs.synthesise._cache_size()
  params = jax.tree.map(lambda a: a * np.float32(1.5), first.weights.params)
  second = make_coder(Weights("other", first.weights.config, params, first.weights.tables))
  second.synthesise(second.encode(second.analyse(image), 0).y_hat)
  assert (programs.analyse._cache_size(), programs.synthesise._cache_size()) == compiled
  gone = weakref.ref(second)
  del second
  gc.collect()
  assert gone() is None


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("margin", [2, 23, 40, 500])
def test_windows_leave_room_however_wide_the_margins(margin, on_host):
  class Wide:
    stride, multiple = 16, 64

  Wide.margin, Wide.works_on_host = margin, on_host
  for rows, columns in windows._windows(Wide, 300, 40):
    for window, length in ((rows, 300), (columns, 40)):
      assert isinstance(window, Window)
      assert window.inner_start == 0 or window.inner_start - window.start >= margin
      assert window.inner_stop >= length or window.stop - window.inner_stop >= margin


def test_weights_can_be_made_of_any_model():
  config = TINY["factorized"]
  model = build_model(config)
  weights = calibrate_weights("tiny", config, init_params(model, 0), [])
  assert from_weights(weights).decompress(from_weights(weights).compress(photo(9, 7))).shape == (
    9, 7, 3,
  )  # fmt: skip
