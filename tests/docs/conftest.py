"""A running service, customers of it, and tools that read the contract."""

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
    """Return a function that runs a command.

    The scripts of the environment come first on its path. Of the ``UPREZ_`` variables it gets only those given.
    """

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
    """Return a function that runs a script of the npm packages that ``docs/reference`` pins."""
    installed = TOOLS / "node_modules"
    if not installed.exists():
        pytest.skip("the tools are not installed: npm ci --prefix docs/reference")

    def tool(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("node", str(installed / script), *arguments, REDOCLY_TELEMETRY="off", CI="true")

    return tool


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a photograph of 96 × 80 pixels, which takes the engine a second."""
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
    """A user of the API with an account."""

    api: str
    email: str
    token: str = ""

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, f"{self.api}{path}", headers=headers, timeout=120, **options)

    def data(self, method: str, path: str, **options: Any) -> Any:
        """Send a request, expect success and return the ``data`` of the response."""
        response = self.request(method, path, **options)
        assert response.ok, response.text
        return response.json()["data"]

    def upload(self, photo: Path) -> int:
        with photo.open("rb") as file:
            image: int = self.data("POST", "/images/upscale", files={"image": file})["id"]
        return image

    def upload_batch(self, photo: Path) -> int:
        batch: int = self.data("POST", "/batches", files={"images[]": photo.read_bytes()})["id"]
        return batch

    def wait_until_completed(self, path: str) -> dict[str, Any]:
        """Return the image or batch at ``path`` when it is completed."""
        while (current := self.data("GET", path))["status"] != "completed":
            assert current["status"] in {"pending", "processing"}, current
            time.sleep(0.1)
        completed: dict[str, Any] = current
        return completed


@dataclass
class Customers:
    """The accounts of a service, and the mail that they get."""

    service: Service

    def __post_init__(self) -> None:
        self._addresses = (f"jane{number}@example.com" for number in count(1))

    @property
    def origin(self) -> str:
        return self.service.api.removesuffix("/api")

    def new_address(self) -> str:
        return next(self._addresses)

    def register(self) -> Customer:
        """Register a customer, whose address is not verified yet."""
        customer = Customer(self.service.api, self.new_address())
        registration = {
            "name": "Jane Smith",
            "email": customer.email,
            "password": PASSWORD,
            "password_confirmation": PASSWORD,
        }
        customer.token = customer.data("POST", "/auth/register", json=registration)["token"]
        return customer

    def register_verified(self) -> Customer:
        """Register a customer and verify the address."""
        customer = self.register()
        requests.get(self.link_in_mail_to(customer.email), timeout=120).raise_for_status()
        return customer

    def mails_to(self, email: str, count: int = 1) -> list[str]:
        """Wait until the address has ``count`` mails, and return their texts, oldest first."""
        deadline = time.monotonic() + 120
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
            assert time.monotonic() < deadline, f"{len(texts)} of {count} mails arrived."
            time.sleep(0.05)

    def link_in_mail_to(self, email: str) -> str:
        (link,) = re.findall(r"http\S+", self.mails_to(email)[-1])
        return str(link)


@pytest.fixture(scope="session")
def customers(service: Service) -> Customers:
    return Customers(service)


@pytest.fixture(scope="session")
def customers_of() -> Callable[[Service], Customers]:
    """Return a function that returns the customers of another service."""
    return Customers


@pytest.fixture(scope="session")
def customer(customers: Customers) -> Customer:
    """Provide a verified customer for all tests; no test revokes this token."""
    return customers.register_verified()
