"""Settings that all tests share."""

import os
import signal
from pathlib import Path

import book_site
import fake_cupy
import pytest
from hypothesis import settings
from on_device import DEVICES, Device, device_named
from small_runs import OPTIONS, command

# A shell that starts the tests in the background lets them ignore Ctrl-C, which some of them send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# In CI the examples are always the same, so that a failure there is one that anybody can repeat.
settings.register_profile("local", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> Device:
    """Each way to run a CUDA kernel that there is here."""
    return device_named(request.param)


@pytest.fixture
def fake_gpu():
    """A stand-in for CuPy, so that what is written for a GPU runs without one (see fake_cupy.py)."""
    with fake_cupy.installed() as cupy:
        yield cupy


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A run that ended well; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert command("train", *OPTIONS, "--out", folder).status == 0
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in; it must still be empty after a refused training."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert not list(folder.iterdir()), "a refused training left something behind"


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the book's site, built once."""
    return book_site.build("html", tmp_path_factory.mktemp("book")).parent
