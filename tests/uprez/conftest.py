"""Fixtures: running services, and photographs to upscale."""

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
    """Return a function that runs ``uprez`` with arguments; keywords are environment variables."""
    return run_uprez


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Provide a running service that all tests share; a test must not stop or configure it."""
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Provide a function that makes services for one test, which may start, stop and kill them."""
    services: list[Service] = []

    def make(*options: str, **environment: str) -> Service:
        services.append(Service(tmp_path / "data", options or ("--port", "0"), environment))
        return services[-1]

    yield make
    for service in services:
        if service.process is not None and service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="session")
def token(service: Service) -> str:
    """Return the token of an account on the Enterprise plan."""
    return service.new_token()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a JPEG of 96 × 80 pixels, which the engine upscales in about a second."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(data.coffee()[100:180, 200:296]).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def huge_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a JPEG whose upscaling takes minutes on a CPU."""
    path = tmp_path_factory.mktemp("photo") / "huge.jpg"
    Image.fromarray(data.coffee()).resize((5000, 3335)).save(path, quality=80)
    return path


@pytest.fixture(scope="session")
def large_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PNG with many tiles, whose upscaling takes long enough to be interrupted."""
    path = tmp_path_factory.mktemp("photo") / "large.png"
    Image.fromarray(data.coffee()).resize((1000, 667)).save(path)
    return path
