"""The classical codecs: real files, strong settings, and a word for what is not installed."""

import dataclasses
import io
import json
import math
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
from PIL import Image, features

from cae_jax.evaluation import comparison, evaluate, measuring, names, records
from cae_jax.evaluation.codecs import base as codecs
from cae_jax.evaluation.codecs import baselines, bpg
from cae_jax.images import files, metrics
from tests.models import photo

_SHARED = pathlib.Path(__file__).parents[3] / "shared"
_INSTALLED = [c for c in baselines.baselines() if not isinstance(c, baselines.Missing)]


def _photo(height=48, width=80):
  """A picture with edges and slopes, uint8 [H, W, 3]."""
  rows, columns = np.mgrid[:height, :width]
  red, green = 255 * rows / height, 127 + 120 * np.sin(columns / 9)
  blue = np.where((rows // 16 + columns // 16) % 2, 40, 210)
  return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def _bytes_codec(sizes, name="stub"):
  """A codec whose file at setting i has sizes[i] bytes and decodes to the picture, brightened."""
  return codecs.FileCodec(
    name=name,
    version="1",
    settings=tuple(range(len(sizes))),
    search=tuple(range(len(sizes))),
    encoder=lambda x, setting: bytes([setting]) * sizes[setting],
    decoder=lambda data: np.minimum(_photo() + np.uint8(data[0] + 1), 255).astype(np.uint8),
  )


def _broken(data):
  raise codecs.CodecError("cannot be decoded")


@pytest.mark.parametrize("codec", _INSTALLED, ids=lambda codec: codec.name)
def test_codec_gives_smaller_and_better_files_along_its_settings(codec):
  x = _photo()
  small, large = (codec.encode(x, setting) for setting in (codec.search[0], codec.search[-1]))
  assert len(small) < len(large)
  decoded = codec.decode(large)
  assert decoded.shape == x.shape
  assert decoded.dtype == np.uint8
  least = 2 if codec.name == "jpegli" else 3  # even its smallest file is a fair picture
  assert metrics.psnr_db(x, codec.decode(small)) + least < metrics.psnr_db(x, decoded)


@pytest.mark.parametrize("codec", _INSTALLED, ids=lambda codec: codec.name)
def test_codec_takes_odd_sizes_and_settings_lie_in_the_search_range(codec):
  x = _photo(17, 33)
  assert codec.decode(codec.encode(x, codec.settings[len(codec.settings) // 2])).shape == x.shape
  assert min(codec.search) <= min(codec.settings) <= max(codec.settings) <= max(codec.search)


def test_pillow_codecs_and_their_options_are_named_in_the_version():
  versions = {codec.name: codec.version for codec in _INSTALLED}
  assert "4:2:0, progressive, optimised" in versions["jpeg"]
  assert "4:4:4" in versions["jpeg_444"]
  assert features.version("jpg_2000") in versions["jpeg2000"]


def test_names_choose_and_order():
  assert [codec.name for codec in baselines.baselines("jpeg2000, jpeg")] == ["jpeg2000", "jpeg"]
  assert [codec.name for codec in baselines.baselines(bpg_dir="/nowhere")] == list(names.LABELS)


def test_unknown_name_is_an_error():
  with pytest.raises(ValueError, match=r"unknown codec 'nope'; expected 'all' or some of jpeg,"):
    baselines.baselines("jpeg,nope")


@pytest.mark.parametrize(
  ("name", "module", "command"),
  [
    ("jxl", "imagecodecs", "pip install imagecodecs"),
    ("jpegli", "pyjpegli", "pip install pyjpegli"),
    ("heic", "pillow_heif", "pip install pillow-heif"),
  ],
)
def test_absent_package_is_a_row_that_says_how_to_get_it(monkeypatch, name, module, command):
  monkeypatch.setitem(sys.modules, module, None)
  (codec,) = baselines.baselines(name)
  assert isinstance(codec, baselines.Missing)
  assert "cannot be imported" in codec.reason
  assert codec.how_to_get == command


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp", "avif", "avif_iq"])
def test_pillow_without_a_library_is_a_row_that_says_so(monkeypatch, name):
  monkeypatch.setattr(features, "check", lambda feature: False)
  (codec,) = baselines.baselines(name)
  assert isinstance(codec, baselines.Missing)
  assert "was built without" in codec.reason
  assert "pip install" in codec.status


def test_encoders_that_do_not_know_a_tune_are_rows_that_say_so(monkeypatch):
  def refuse(*_, **__):
    raise ValueError("Invalid codec-specific option")

  monkeypatch.setattr(Image.Image, "save", refuse)
  (codec,) = baselines.baselines("avif_iq")
  assert isinstance(codec, baselines.Missing)
  assert codec.reason == "the encoder of this Pillow has no tune=iq"


def test_settings_for_the_eye_have_an_effect():
  """None of them is passed over in silence: their files differ, and so do their pictures."""
  x = _photo()
  for codecs_of in ("avif,avif_iq,avif_ssimulacra2", "jpeg,jpegli"):
    found = [c for c in baselines.baselines(codecs_of) if not isinstance(c, baselines.Missing)]
    pictures = {codec.decode(codec.encode(x, 50)).tobytes() for codec in found}
    assert len(pictures) == len(found)


def test_avif_takes_the_time_that_it_is_given():
  x = _photo()
  sizes = []
  for speed in (2, 10):
    [codec] = comparison.others(comparison.Comparison("none", "avif", avif_speed=speed))
    if isinstance(codec, baselines.Missing):
      pytest.skip(codec.status)
    assert f"speed {speed}," in codec.version
    sizes.append(len(codec.encode(x, 50)))
  assert sizes[0] < sizes[1]


def test_absent_bpg_is_a_row_that_says_where_to_get_it(tmp_path):
  codec = bpg.bpg(tmp_path)
  assert isinstance(codec, baselines.Missing)
  assert codec.reason == f"no program bpgenc or bpgdec in {tmp_path}"
  assert "bellard.org/bpg" in codec.how_to_get
  assert "--bpg_dir" in codec.how_to_get


def _write_program(path, text):
  path.write_text(f"#!/bin/sh\n{text}")
  path.chmod(0o755)


def _stub_bpg(folder, encoders="x265 jctvc"):
  """Programs with the command line of libbpg's: the "BPG" file is the PNG."""
  help_text = (
    "BPG Image Encoder version 9.9\n"
    f"-e encoder           select the HEVC encoder ({encoders}, default = x265)"
  )
  _write_program(
    folder / "bpgenc",
    f'if [ "$1" = -h ]; then echo "{help_text}"; exit 1; fi\n'
    f'echo "$@" > "{folder}/arguments"\n'
    'while [ $# -gt 1 ]; do if [ "$1" = -o ]; then out="$2"; fi; shift; done\n'
    'cp "$1" "$out"\n',
  )
  _write_program(folder / "bpgdec", 'cp "$3" "$2"\n')


def test_absent_cwebp_is_a_row_that_says_how_to_get_it(monkeypatch):
  monkeypatch.setenv("PATH", "/nowhere")
  (codec,) = baselines.baselines("webp_sharp")
  assert isinstance(codec, baselines.Missing)
  assert codec.status.startswith(
    "not run: no program cwebp on the PATH; install libwebp's programs"
  )


@pytest.mark.skipif(os.name == "nt", reason="the stub program is a shell script")
def test_cwebp_is_asked_for_sharp_chroma(tmp_path, monkeypatch):
  _write_program(
    tmp_path / "cwebp",
    'if [ "$1" = -version ]; then echo 9.9; exit; fi\n'
    f'echo "$@" > "{tmp_path}/arguments"\n'
    'cp "$7" "$9"\n',
  )
  monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
  (codec,) = baselines.baselines("webp_sharp")
  assert codec.version == "cwebp 9.9; lossy, method 6, 4:2:0, sharp YUV"
  codec.encode(_photo(), 35)
  assert (tmp_path / "arguments").read_text().startswith("-quiet -m 6 -sharp_yuv -q 35 ")


@pytest.mark.skipif(os.name == "nt", reason="the stub programs are shell scripts")
@pytest.mark.parametrize(("built_in", "chosen"), [("x265 jctvc", "x265"), ("jctvc", "jctvc")])
def test_bpg_is_called_at_its_strong_setting(tmp_path, built_in, chosen):
  _stub_bpg(tmp_path, built_in)
  codec = bpg.bpg(tmp_path)
  assert codec.version == f"libbpg 9.9; {chosen}, 4:4:4, -m 8"
  x = _photo()
  np.testing.assert_array_equal(codec.decode(codec.encode(x, 37)), x)
  arguments = (tmp_path / "arguments").read_text()
  assert arguments.startswith(f"-e {chosen} -f 444 -m 8 -q 37 -o ")


@pytest.mark.skipif(os.name == "nt", reason="the stub programs are shell scripts")
def test_bpg_that_fails_is_a_record_with_its_words(tmp_path):
  _stub_bpg(tmp_path)
  codec = bpg.bpg(tmp_path)
  _write_program(tmp_path / "bpgenc", "echo out of memory >&2; exit 3\n")
  record = measuring.evaluate_image(codec, 37, "a", _photo())
  assert record.psnr_db is None
  assert record.status.startswith("failed: bpg at 37 could not encode: ")
  assert record.status.endswith("bpgenc ended with status 3: out of memory")


@pytest.mark.skipif(os.name == "nt", reason="the stub programs are shell scripts")
def test_another_program_of_that_name_is_not_taken_for_bpg(tmp_path):
  for program in ("bpgenc", "bpgdec"):
    _write_program(tmp_path / program, "echo hello\n")
  codec = bpg.bpg(tmp_path)
  assert isinstance(codec, baselines.Missing)
  assert "does not answer as bpgenc does" in codec.reason


@pytest.mark.skipif(not shutil.which("bpgenc"), reason="bpgenc is not on the PATH")
def test_real_bpg_encodes_a_picture():
  codec = bpg.bpg()
  record = measuring.evaluate_image(codec, 10, "a", _photo())
  assert record.ok
  assert record.psnr_db > 35


def test_evaluate_image_measures_the_whole_file():
  x = _photo()
  record = measuring.evaluate_image(_bytes_codec([100, 480]), 1, "a.png", x)
  assert (record.codec, record.setting, record.image, record.status) == ("stub", 1, "a.png", "ok")
  assert (record.width, record.height, record.size_bytes) == (80, 48, 480)
  assert record.rate_bpp == 1.0
  assert record.psnr_db == metrics.psnr_db(x, np.minimum(x.astype(int) + 2, 255))
  assert record.mse == pytest.approx(record.mse_variance + record.mse_bias_squared)
  assert record.ms_ssim is None
  assert record.encode_s >= 0
  assert record.decode_s >= 0


def test_evaluate_image_has_ms_ssim_when_the_image_is_large_enough():
  (codec,) = baselines.baselines("jpeg")
  record = measuring.evaluate_image(codec, 50, "a", _photo(161, 170))
  assert 0.8 < record.ms_ssim < 1


def test_a_decoder_of_the_wrong_shape_is_a_failed_record():
  codec = dataclasses.replace(_bytes_codec([5]), decoder=lambda data: np.zeros((2, 2, 3), np.uint8))
  record = measuring.evaluate_image(codec, 0, "a", _photo())
  assert record.status == "failed: stub decoded a to uint8 (2, 2, 3), expected uint8 (48, 80, 3)"


@pytest.mark.parametrize(
  ("target", "setting", "status"),
  [
    (9, 0, measuring.TOO_LARGE),
    (10, 0, "ok"),
    (29, 1, "ok"),
    (30, 2, "ok"),
    (59, 4, "ok"),
    (60, 5, "ok"),
    (61, 5, measuring.TOO_SMALL),
  ],
)
def test_match_size_takes_the_largest_file_not_above_the_target(target, setting, status):
  match = measuring.match_size(_bytes_codec([10, 20, 30, 40, 50, 60]), _photo(), target)
  assert (match.setting, len(match.data), match.status) == (setting, 10 * (setting + 1), status)


@pytest.mark.parametrize("target", [10, 25, 39, 59])
def test_match_size_tells_the_next_larger_file(target):
  match = measuring.match_size(_bytes_codec([10, 20, 30, 40, 50, 60]), _photo(), target)
  assert len(match.next_data) == len(match.data) + 10


def test_match_size_with_a_real_codec_comes_close():
  (codec,) = baselines.baselines("jpeg2000")
  x = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
  match = measuring.match_size(codec, x, 3000)
  assert match.status == "ok"
  assert 2850 < len(match.data) <= 3000


def test_run_measures_fixed_settings_and_matches_sizes():
  ours, other = _bytes_codec([25, 45], "cae"), _bytes_codec([10, 20, 30, 40])
  absent = baselines.Missing("bpg", "no program", "build it")
  stored = []
  images = [("a", _photo()), ("b", _photo())]
  result = evaluate.run(
    [other, absent], images, {"stub": [3]}, ours, on_record=stored.append, progress=False
  )
  assert stored == result
  assert [record.status for record in result if record.codec == "bpg"] == [
    "not run: no program; build it"
  ]
  of_a = [record for record in result if record.image == "a"]
  assert [(r.codec, r.setting, r.matched_to, r.matched_setting) for r in of_a] == [
    ("cae", 0, None, None),
    ("cae", 1, None, None),
    ("stub", 3, None, None),
    ("stub", 1, "cae", 0),
    ("stub", 3, "cae", 1),
  ]
  assert of_a[3].target_bytes == 25
  assert [record.status for record in of_a[3:]] == ["ok", measuring.TOO_SMALL]


def test_a_codec_without_settings_is_not_measured():
  assert evaluate.run([_bytes_codec([10])], [("a", _photo())], {"stub": []}, progress=False) == []


def _sizes_to_match(ours, done=()):
  other = _bytes_codec([10, 20, 30, 40])
  images, settings = [("a", _photo())], {"stub": []}
  rows = evaluate.run([other], images, settings, ours, done=done, progress=False)
  return [row.target_bytes for row in rows if row.matched_to]


def test_only_sizes_of_our_present_version_are_matched():
  before = evaluate.run([_bytes_codec([25, 45], "cae")], [("a", _photo())], progress=False)
  newer = dataclasses.replace(_bytes_codec([15, 35], "cae"), version="2")
  assert _sizes_to_match(newer, before) == [15, 35]


def test_a_file_of_ours_that_failed_has_no_size_to_match():
  decoders = iter([lambda data: _photo(), _broken])
  ours = _bytes_codec([25, 45], "cae")
  decoder = lambda data: next(decoders)(data)
  assert _sizes_to_match(dataclasses.replace(ours, decoder=decoder)) == [25]


def test_run_does_not_repeat_what_is_done():
  ours, other = _bytes_codec([25, 45], "cae"), _bytes_codec([10, 20, 30, 40])
  images = [("a", _photo()), ("b", _photo())]
  first = evaluate.run([other], images, {}, ours, progress=False)
  new = []
  half = first[: len(first) // 2]
  again = evaluate.run([other], images, {}, ours, on_record=new.append, done=half, progress=False)
  assert len(new) == len(first) - len(half)
  untimed = [dataclasses.replace(r, encode_s=0, decode_s=0) for r in (*again, *first)]
  assert untimed[: len(again)] == untimed[len(again) :]
  newer = dataclasses.replace(other, version="2")
  evaluate.run([newer], images[:1], {}, done=first, on_record=new.append, progress=False)
  assert {record.version for record in new[-4:]} == {"2"}


@pytest.mark.parametrize(
  ("name", "reference", "setting"),
  [
    ("jpeg", "jpeg_420", 30),
    ("jpeg_444", "jpeg_444", 80),
    ("jpeg2000", "jpeg2000", 96),
    ("webp", "webp", 35),
    ("jxl", "jxl", 3.0),
    ("avif", "avif_444_tune_psnr", 1),
    ("bpg", "bpg_444_x265", 42),
  ],
)
def test_codec_agrees_with_the_measured_reference_on_kodim20(name, reference, setting):
  measured = _SHARED / "reference" / "measured" / "kodak_lossy.json"
  if not measured.exists():
    pytest.skip("the measured reference figures are not beside this checkout")
  (codec,) = baselines.baselines(name)
  if isinstance(codec, baselines.Missing):
    pytest.skip(codec.status)
  points = json.loads(measured.read_text())[reference]["points"]
  rate_bpp, psnr_db = next(p["per_image"][19] for p in points if p["quality"] == setting)
  x = files.read_rgb(_SHARED / "data" / "kodak" / "kodim20.png")
  record = measuring.evaluate_image(codec, setting, "kodim20", x)
  # Other versions of a library differ a little; other options differ by more.
  assert record.rate_bpp == pytest.approx(rate_bpp, rel=0.01)
  assert record.psnr_db == pytest.approx(psnr_db, abs=0.03)


def test_hevc_does_not_spare_the_chroma_of_444():
  """As x265 does for the eye, whatever libheif's tune: then luma is far better than all of RGB."""
  (codec,) = baselines.baselines("heic")
  if isinstance(codec, baselines.Missing):
    pytest.skip(codec.status)
  heif = pytest.importorskip("pillow_heif")
  x = photo(128, 128, seed=1)
  for_the_eye = io.BytesIO()
  image = heif.from_bytes("RGB", x.shape[1::-1], x.tobytes())
  image.save(for_the_eye, quality=30, chroma=444, enc_params={"tune": "psnr"})
  gaps = [
    float(metrics.psnr_y_db(x, x_hat)) - float(metrics.psnr_db(x, x_hat))
    for x_hat in (codec.decoder(codec.encoder(x, 30)), codec.decoder(for_the_eye.getvalue()))
  ]
  assert gaps[0] < gaps[1] - 0.5


def test_lossless_picture_is_infinite_psnr():
  codec = dataclasses.replace(_bytes_codec([5]), decoder=lambda data: _photo())
  record = measuring.evaluate_image(codec, 0, "a", _photo())
  assert record.psnr_db == math.inf
  assert records.from_json(records.to_json(record)) == record


def test_matched_row_is_interpolated_to_exactly_the_size():
  other, x = _bytes_codec([10, 20, 30]), _photo()
  target = dataclasses.replace(measuring.evaluate_image(other, 0, "a", x), size_bytes=25)
  row = measuring.match_image(other, "a", x, target)
  low, high = (measuring.evaluate_image(other, setting, "a", x).psnr_db for setting in (1, 2))
  share = math.log(25 / 20) / math.log(30 / 20)
  assert (row.setting, row.size_bytes, row.psnr_db) == (1, 20, low)
  assert row.psnr_db_at_target == pytest.approx(low + share * (high - low))
  exact = measuring.match_image(other, "a", x, dataclasses.replace(target, size_bytes=20))
  assert exact.psnr_db_at_target == exact.psnr_db == low
  above_all = measuring.match_image(other, "a", x, dataclasses.replace(target, size_bytes=99))
  assert above_all.psnr_db_at_target is None


def test_a_matched_file_that_cannot_be_decoded_is_a_failed_record():
  other, x = _bytes_codec([10, 20, 30]), _photo()
  target = dataclasses.replace(measuring.evaluate_image(other, 0, "a", x), size_bytes=25)
  row = measuring.match_image(dataclasses.replace(other, decoder=_broken), "a", x, target)
  assert row.status == "failed: stub could not decode its own file: cannot be decoded"
