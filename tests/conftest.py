"""What all tests share: two processes, a cache of the session's own, and a few small images from the real renderer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.data.synthetic import Synthetic

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the other processes have the other cores


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --plugin."""
    parser.addoption("--plugin", action="append", default=[], help="check only this plugin file in the contract suites")


def pytest_configure(config: pytest.Config) -> None:
    """Passes --plugin on to `builders.plugins_under_test`."""
    if files := config.getoption("--plugin"):
        os.environ["SSLBENCH_TEST_PLUGINS"] = os.pathsep.join(str(Path(file).resolve()) for file in files)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two where all fast tests run; slow ones may have all cores, and a file is done before others have begun."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 2 if whole and config.option.markexpr == "not slow" else 0


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps every test, and what it starts, away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sums come out in one order and tests do not crowd each other; slow tests may have all cores."""
    before = torch.get_num_threads()
    if not request.node.get_closest_marker("slow"):
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(session_cache: None) -> Dataset:
    """64 train and 20 test images of 32 pixels, with all that the renderer provides."""
    return Synthetic(image_size=32, train=64, test=20).load(Synthetic.provides)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder that does not exist yet."""
    return tmp_path / "results"
