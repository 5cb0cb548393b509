"""A whole service in a process of its own, and the small photograph that goes through it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from running_service import Service, run_uprez
from skimage import data


@pytest.fixture(scope="session")
def uprez() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_uprez


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that only use it."""
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Services that a test starts, stops and kills as it likes."""
    made: list[Service] = []

    def make(*options: str, **environment: str) -> Service:
        made.append(Service(tmp_path / "data", options or ("--port", "0"), environment))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.stop()


@pytest.fixture(scope="session")
def token(service: Service) -> str:
    return service.new_token()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of a real photograph, 96 × 80: a second's work for the engine."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(data.coffee()[100:180, 200:296]).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def large_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough work, in many tiles, to interrupt it."""
    path = tmp_path_factory.mktemp("photo") / "large.png"
    Image.fromarray(data.coffee()).resize((1000, 667)).save(path)
    return path
