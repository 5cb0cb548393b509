"""A running service, somebody who uses it, and the tools that read the contract from the outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests
from PIL import Image
from running_service import Service
from skimage import data

from project_root import ROOT

TOOLS = ROOT / "docs" / "reference"
PASSWORD = "Correct1Horse"

Run = Callable[..., subprocess.CompletedProcess[str]]


class Tool(Protocol):
    def __call__(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command with what pip installed first on the path, and with no variable of ours but the given."""

    def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPREZ_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=cwd,
            env={**inherited, "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def tool(run: Run) -> Tool:
    """Runs a script of the npm packages that ``docs/reference`` pins."""
    installed = TOOLS / "node_modules"
    if not installed.exists():
        pytest.skip("the tools are not installed: npm ci --prefix docs/reference")

    def tool(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("node", str(installed / script), *arguments, REDOCLY_TELEMETRY="off", CI="true")

    return tool


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of a real photograph, 96 × 80: a second's work for the engine."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(data.coffee()[100:180, 200:296]).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(
        tmp_path_factory.mktemp("service"), environment={"UPREZ_DEFAULT_PLAN": "enterprise"}
    ).start()
    yield running
    assert running.stop() == 0


@dataclass
class Customer:
    """Somebody with an account, who knows nothing but the API."""

    api: str
    email: str
    token: str = ""

    def ask(self, method: str, path: str, **sent: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, f"{self.api}{path}", headers=headers, timeout=30, **sent)

    def data(self, method: str, path: str, **sent: Any) -> Any:
        answer = self.ask(method, path, **sent)
        assert answer.ok, answer.text
        return answer.json()["data"]

    def upload(self, photo: Path) -> int:
        with photo.open("rb") as file:
            image: int = self.data("POST", "/images/upscale", files={"image": file})["id"]
        return image

    def upload_batch(self, photo: Path) -> int:
        batch: int = self.data("POST", "/batches", files={"images[]": photo.read_bytes()})["id"]
        return batch

    def finished(self, path: str) -> dict[str, Any]:
        """The image or batch once it is completed."""
        while (work := self.data("GET", path))["status"] != "completed":
            assert work["status"] in {"pending", "processing"}, work
            time.sleep(0.1)
        completed: dict[str, Any] = work
        return completed


@dataclass
class Town:
    """Where customers come from."""

    service: Service

    def __post_init__(self) -> None:
        self._addresses = (f"jane{number}@example.com" for number in count(1))

    @property
    def origin(self) -> str:
        return self.service.api.removesuffix("/api")

    def new_address(self) -> str:
        return next(self._addresses)

    def registered(self) -> Customer:
        """With an address that is not verified yet."""
        customer = Customer(self.service.api, self.new_address())
        registration = {
            "name": "Jane Smith",
            "email": customer.email,
            "password": PASSWORD,
            "password_confirmation": PASSWORD,
        }
        customer.token = customer.data("POST", "/auth/register", json=registration)["token"]
        return customer

    def customer(self) -> Customer:
        customer = self.registered()
        requests.get(self.link_in_mail_to(customer.email), timeout=30).raise_for_status()
        return customer

    def mails_to(self, email: str, count: int = 1) -> list[str]:
        """The texts, oldest first; waits for so many, which follow their answers."""
        deadline = time.monotonic() + 30
        while True:
            mails = [
                message_from_bytes(path.read_bytes(), policy=default)
                for path in sorted(
                    (self.service.folder / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns
                )
            ]
            texts = [mail.get_content() for mail in mails if mail["To"] == email]
            if len(texts) >= count:
                return texts
            assert time.monotonic() < deadline, f"{len(texts)} of {count} mails came."
            time.sleep(0.05)

    def link_in_mail_to(self, email: str) -> str:
        (link,) = re.findall(r"http\S+", self.mails_to(email)[-1])
        return str(link)


@pytest.fixture(scope="session")
def town(service: Service) -> Town:
    return Town(service)


@pytest.fixture(scope="session")
def customer(town: Town) -> Customer:
    """One whom the tests share; nobody ends this token."""
    return town.customer()
