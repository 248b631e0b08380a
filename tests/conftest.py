"""Settings for all tests: bounded property tests, data sets in a temporary folder."""

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def _own_data_dir(tmp_path_factory):
  """No test reads or writes the user's prepared data sets."""
  os.environ["CAE_JAX_DATA_DIR"] = str(tmp_path_factory.mktemp("datasets"))
