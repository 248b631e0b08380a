import importlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import cae_jax
from cae_jax import backend
from cae_jax.backend import BackendError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
  monkeypatch.setattr(backend, "_started", False)
  monkeypatch.setattr(backend, "_forked", False)


@pytest.fixture
def use_platforms():
  """Sets JAX_PLATFORMS for a while, after JAX has started without."""
  before = jax.config.jax_platforms
  yield lambda platforms: jax.config.update("jax_platforms", platforms)
  jax.config.update("jax_platforms", before)


@pytest.mark.parametrize(
  ("platforms", "raised", "message"),
  [
    ("cuda", AssertionError(), r"^JAX_PLATFORMS=cuda: .* \(none is visible\); install its plugin"),
    (
      "rocm",
      RuntimeError("not known: ['cpu']. (set JAX_PLATFORMS='' to automatically choose)"),
      r"^JAX_PLATFORMS=rocm: JAX finds no such device \(not known: \['cpu'\]\.\); .* or unset JAX_",
    ),
    (None, RuntimeError("The TPU is in use"), "^JAX cannot start: The TPU is in use$"),
  ],
)
def test_it_says_what_is_missing(platforms, raised, message, use_platforms, monkeypatch):
  def devices():
    raise raised

  use_platforms(platforms)
  monkeypatch.setattr(jax, "devices", devices)
  for _ in range(2):
    with pytest.raises(BackendError, match=message):
      backend.require()


def test_devices_are_looked_for_once(monkeypatch):
  backend.require()
  monkeypatch.delattr(jax, "devices")
  backend.require()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_signals_raise_waits_for_the_import_of_jax(raised, monkeypatch, tmp_path):
  number = signal.SIGINT if raised is KeyboardInterrupt else signal.SIGTERM
  (tmp_path / "jax.py").write_text(
    f"import signal\nsignal.raise_signal({int(number)})\nis_whole = True\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "jax")

  def end(*_):
    raise raised

  before = signal.signal(number, end)
  try:
    with pytest.raises(raised):
      backend.require()
    assert sys.modules["jax"].is_whole
    assert signal.getsignal(number) is end
  finally:
    signal.signal(number, before)


def test_a_fork_of_a_process_that_used_jax_is_refused():
  backend.require()
  backend._after_fork()
  with pytest.raises(BackendError, match=r"multiprocessing.get_context\('spawn'\)"):
    backend.require()
  with pytest.raises(cae_jax.Error, match="forked"):
    cae_jax.load().compress(np.zeros((16, 16, 3), np.uint8), effort=1)


def test_a_fork_before_jax_is_used_works(monkeypatch):
  monkeypatch.delitem(sys.modules, "jax._src.xla_bridge")
  backend._after_fork()
  backend.require()


def test_use_of_jax_without_the_codec_is_seen():
  jax.devices()
  backend._after_fork()
  with pytest.raises(BackendError, match="forked"):
    backend.require()


@pytest.fixture
def without_jax(monkeypatch):
  """As if JAX had not been imported, and no package for an accelerator were installed."""
  monkeypatch.setattr(backend, "imported_jax", lambda: None)
  monkeypatch.setattr(backend, "_backends", lambda: None)
  monkeypatch.setattr(backend, "_has_plugin", lambda: False)
  for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
    monkeypatch.delenv(name, raising=False)


def _not_asked():
  pytest.fail("JAX was started")


@pytest.mark.parametrize(
  ("platforms", "expected"),
  [("", False), ("cpu", False), ("cpu,cuda", False), ("cuda", True), ("cuda,cpu", True)],
)
def test_no_jax_is_started_to_look_for_what_cannot_be_there(
  platforms, expected, without_jax, monkeypatch
):
  monkeypatch.setattr(backend, "require", _not_asked)
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  assert backend.has_accelerator() is expected


@pytest.mark.parametrize("found", ["cpu", "gpu"])
def test_jax_is_asked_where_it_may_find_one(found, without_jax, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: found)
  for name in ("_has_plugin", "_backends"):
    with monkeypatch.context() as patch:
      patch.setattr(backend, name, lambda: True)
      assert backend.has_accelerator() is (found == "gpu")
      patch.setattr(backend, "_forked", True)
      assert not backend.has_accelerator()


@pytest.mark.parametrize("module", ["jax_plugins/some_gpu.py", "libtpu/__init__.py"])
def test_what_accelerators_need_is_seen(module, tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  found = backend._has_plugin.__wrapped__
  before = found()
  path = tmp_path / module
  path.parent.mkdir()
  path.touch()
  importlib.invalidate_caches()
  assert (before, found()) == (False, True)


def test_platforms_that_jax_was_told(use_platforms, monkeypatch):
  monkeypatch.setattr(backend, "require", _not_asked)
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # came too late
  use_platforms("cpu")
  assert not backend.has_accelerator()


@pytest.mark.skipif(not hasattr(backend.os, "fork"), reason="this system cannot fork")
def test_forks_are_noticed_from_the_import_on():
  script = (
    "import os, sys, types, cae_jax\n"
    "sys.modules['jax._src.xla_bridge'] = types.SimpleNamespace(_backends={'cpu': None})\n"
    "child = os.fork()\n"
    "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    "from cae_jax import backend\n"
    "try: backend.require()\n"
    "except cae_jax.BackendError: os._exit(7)"
  )
  assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 7
