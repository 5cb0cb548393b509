"""A whole service in a process of its own, and the small photograph that goes through it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

READY = "Uprez is ready at "
COMMAND = [sys.executable, "-W", "error::UserWarning", "-m", "uprez"]


@dataclass
class Service:
    """``uprez serve`` as an operator has it: a process, a folder, an address."""

    folder: Path
    options: tuple[str, ...] = ("--port", "0")
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    api: str = ""

    def start(self) -> Service:
        command = [*COMMAND, "serve", *self.options, "--data", str(self.folder)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self.environment}
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(READY):
                self.api = line.removeprefix(READY).strip()
                return self
        raise AssertionError(f"uprez serve ended with {self.process.wait()}")

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=15)
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def new_token(self, email: str = "jane@example.com", plan: str = "professional") -> str:
        made = run_uprez(
            "user", "create", "--email", email, "--name", "Jane Smith", "--plan", plan, "--verified",
            "--data", str(self.folder),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        token: str = json.loads(made.stdout)["token"]
        return token


def run_uprez(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


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
