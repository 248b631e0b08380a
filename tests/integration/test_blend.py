"""Weights between those that were trained on and those that they started from."""

import dataclasses

import jax
import numpy as np

from cae_jax import codec
from cae_jax.data.trained_on import TrainedOn
from cae_jax.images.files import write_image
from cae_jax.weights import load_weights, save_weights, shipped
from experiments import blend, cli
from tests.models import context_weights, paper_codec, photo


def run(tmp_path, *flags):
  given = [f"--data_dir={tmp_path / 'tfds'}", f"--output={tmp_path / 'blend.safetensors'}"]
  return cli.run(blend.main, blend.define_flags, [*given, *flags])


def test_a_share_of_the_way(tmp_path):
  start = context_weights()
  seen = TrainedOn.of([b"a photograph"])
  moved = jax.tree.map(lambda a: np.asarray(1.01 * a, a.dtype), start.params)
  end = dataclasses.replace(start, name="end", params=moved, card=seen.to_card())
  save_weights(tmp_path / "start.safetensors", start)
  save_weights(tmp_path / "end.safetensors", end)
  photos = tmp_path / "photos"
  photos.mkdir()
  for number in range(2):
    write_image(photos / f"{number}.png", photo(288, 288, number))
  flags = [
    f"--weights={tmp_path / 'end.safetensors'}",
    f"--start_weights={tmp_path / 'start.safetensors'}",
    "--share=0.25",
    "--split=all",
    f"--source_dir={photos}",
  ]
  assert run(tmp_path, *flags) == 0
  found = load_weights(tmp_path / "blend.safetensors")
  assert found.name == "end"
  for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(start.params), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, 1.0025 * b.astype(np.float32), rtol=2e-3, atol=1e-7)
  assert found.card["blended"] == {"with": "tiny", "hash": start.hash().hex(), "share": 0.25}
  assert TrainedOn.from_card(found.card).has("", b"a photograph")
  image = photo(64, 64)
  ours = codec.from_weights(found)
  assert ours.decompress(ours.compress(image, quality=50)).shape == image.shape


def test_another_network(tmp_path, capsys):
  save_weights(tmp_path / "paper.safetensors", paper_codec().weights)
  assert run(tmp_path, f"--weights={tmp_path / 'paper.safetensors'}") == 2
  words = f"expected the network of --start_weights, {shipped.DEFAULT}, got tiny-paper\n"
  assert capsys.readouterr().err.endswith(f"paper.safetensors: {words}")
