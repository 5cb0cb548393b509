"""Real servers for the tests of the HTTP layer, and a checker that validates every response."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default as email_policy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import http_sf
import psutil
import pytest
import requests
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from domain import accounts, jobs, tokens
from domain.records import Result
from domain.sizing import Size
from gradients import gradient
from handlers.app import create_app
from handlers.transport.contract import load_contract
from project_root import ROOT
from uprez import wiring
from uprez.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from starlette.types import ASGIApp, Message

    from domain.records import Account
    from domain.services import Services
    from gradients import MakeGradient

BODY_TIMEOUT_SECONDS = 1.5
_ERRORS = next(tag["description"] for tag in load_contract().document["tags"] if tag["name"] == "Errors")
_TABLES = [set(re.findall(r"`(\w+)`", table)) for table in re.findall(r"\| words \|\n((?:\|.*\n)+)", _ERRORS)]
REASONS, FIELD_WORDS = _TABLES
"""The words of the contract: of each status, and of each wrong field."""
PASSWORD = "Correct-Horse-9"
_START_SECONDS = 120
_SOCKET_SECONDS = 60


# --- responses and their checker


@dataclass(frozen=True)
class Response:
    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    body: bytes
    seconds: float = 0.0
    interim: tuple[int, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def errors(self) -> dict[str, list[str]]:
        assert self.status == 422, (self.status, self.body)
        errors = self.json["errors"]
        assert isinstance(errors, dict)
        return errors


class Checker:
    """Validator of responses against the contract: envelope, headers, and the schema of operation and status."""

    # Any request can get these; the contract describes them once, not for each operation.
    _ANYWHERE = frozenset({400, 404, 405, 408, 431})
    # Outside the contract, without an envelope.
    _REFERENCE = frozenset(
        {"/api/openapi.json", "/api/openapi-3.1.json", "/api/openapi.yaml", "/docs", "/docs/redoc.js"}
    )
    _SOFTWARE = re.compile("uvicorn|gunicorn|connexion|starlette|flask|werkzeug|python", re.IGNORECASE)

    def __init__(self) -> None:
        self._document = load_contract().exact
        self._common_headers = self._resolved(self._document["x-uprez-common-headers"])
        self._validators: dict[tuple[str, str, int], OAS30Validator] = {}
        self._responses: dict[tuple[str, str, int], Any] = {}
        self._request_ids: set[str] = set()
        self._paths = [
            (re.compile("/api" + re.sub(r"{(\w+)}", _path_part, path)), path)
            # Fixed paths come before paths with a parameter.
            for path in sorted(self._document["paths"], key=lambda path: "{" in path)
        ]

    def check(self, method: str, target: str, response: Response) -> Response:
        path = self._path(target.partition("?")[0])
        operations = self._document["paths"].get(path, {})
        operation = operations.get("get" if method == "HEAD" else method.lower(), {})
        documented = self._documented(method, path, operation, response.status)
        self._check_every(method, response)
        self._check_reason(response)
        self._check_headers(self._common_headers, response)
        if target in self._REFERENCE and response.status in {200, 304}:
            return response
        if documented is None:
            outside = not target.startswith("/api/") or method == "OPTIONS"
            assert outside or response.status in self._ANYWHERE, (
                f"{method} {target}: {response.status} {response.body!r}"
            )
            self._check_envelope(method, response)
            return response
        self._check_headers(documented.get("headers", {}), response)
        if response.status != 304:
            content = documented["content"]
            media_type = response.headers["Content-Type"].partition(";")[0]
            assert media_type in content, f"{media_type} is none of {list(content)}"
            if media_type == "application/json":
                self._check_envelope(method, response)
                self._check_body(method, path, response, content[media_type]["schema"])
        return response

    def _check_every(self, method: str, response: Response) -> None:
        headers = response.headers
        assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])
        assert headers["X-Request-Id"] not in self._request_ids
        self._request_ids.add(headers["X-Request-Id"])
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"]
        assert "Server" not in headers
        for name, value in headers.items():
            if name.lower() not in {"content-disposition", "etag"}:
                assert not self._SOFTWARE.search(value), f"{name}: {value}"
        if method == "HEAD" or response.status == 304:
            assert response.body == b""

    @staticmethod
    def _check_reason(response: Response) -> None:
        """Every error has a documented reason; a 422 has one for each field, in the order of its errors."""
        reason = response.headers.get("X-Uprez-Reason")
        assert (reason is not None) is (response.status >= 400), (response.status, reason)
        if reason is None:
            return
        if response.status != 422:
            assert reason in REASONS
            return
        found = http_sf.parse(reason.encode(), tltype="dictionary")
        for value, _ in found.values():
            words = [word for word, _ in value] if isinstance(value, list) else [value]
            assert {str(word) for word in words} <= FIELD_WORDS
        if response.body:
            fields = list(response.json["errors"])
            named = [name for name in fields if re.fullmatch("[a-z*][a-z0-9_.*-]*", name)]
            assert [name for name in found if name != "*"] == named[:50]
            assert ("*" in found) is (len(named) < len(fields))

    @staticmethod
    def _check_envelope(method: str, response: Response) -> None:
        assert response.headers["Content-Type"] == "application/json"
        if method == "HEAD":
            return
        assert int(response.headers["Content-Length"]) == len(response.body)
        body = response.json
        assert body["message"]
        if response.status < 400:
            assert body["success"] is True
            assert body.keys() <= {"success", "message", "data", "meta", "links"}
        else:
            assert body["success"] is False
            assert body.keys() == {"success", "message"} | ({"errors"} if response.status == 422 else set())
            assert "no-store" in response.headers["Cache-Control"]
            for leak in (b"Traceback", b".py", b"Error(", b"sqlite", str(ROOT).encode()):
                assert leak not in response.body

    def _check_headers(self, declared: Mapping[str, Any], response: Response) -> None:
        for name, policy in declared.items():
            if policy.get("required"):
                assert name in response.headers, f"{response.status} lacks {name}"
            if name in response.headers:
                text = response.headers[name]
                value = int(text) if policy["schema"]["type"] == "integer" else text
                OAS30Validator(policy["schema"]).validate(value)

    def _check_body(self, method: str, path: str, response: Response, schema: Any) -> None:
        if method == "HEAD":
            return
        key = (method, path, response.status)
        if key not in self._validators:
            self._validators[key] = OAS30Validator(schema, format_checker=oas30_format_checker)
        self._validators[key].validate(response.json)

    def _documented(self, method: str, path: str, operation: Mapping[str, Any], status: int) -> Any:
        key = (method, path, status)
        if key not in self._responses:
            self._responses[key] = self._resolved(operation.get("responses", {}).get(str(status)))
        return self._responses[key]

    def _path(self, path: str) -> str:
        return next((template for pattern, template in self._paths if pattern.fullmatch(path)), path)

    def _resolved(self, node: Any) -> Any:
        """Return the node with every reference in it resolved."""
        if isinstance(node, list):
            return [self._resolved(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" not in node:
            return {name: self._resolved(member) for name, member in node.items()}
        target: Any = self._document
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return self._resolved(target)


def _path_part(parameter: re.Match[str]) -> str:
    # Anything else in the place of an id is an unknown route, as the contract states.
    return "[0-9]{1,1000}" if parameter[1] == "id" else "[^/]+"


@pytest.fixture(scope="session")
def checker() -> Checker:
    return Checker()


# --- the server


@dataclass
class Server:
    """A running ``uprez api``, and services of this process on the same data."""

    settings: Settings
    services: Services
    checker: Checker
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def worker_process(self) -> psutil.Process:
        """Return the process that handles requests."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def connect(self) -> RawConnection:
        return RawConnection(self.port, self.checker)

    def client(self) -> Client:
        return Client(self)

    def mails_to(self, email: str, count: int = 1) -> list[str]:
        """Return the texts of the mails to this address, oldest first. Wait for ``count`` mails: they follow the response."""
        deadline = time.monotonic() + _SOCKET_SECONDS
        while True:
            mails = [
                message_from_bytes(path.read_bytes(), policy=email_policy)
                for path in sorted((self.settings.data / "mail").glob("*.eml"))
            ]
            texts = [str(mail.get_content()) for mail in mails if mail["To"] == email]
            if len(texts) >= count:
                return texts
            assert time.monotonic() < deadline, f"{len(texts)} of {count} mails came."
            threading.Event().wait(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.services.database.close()


class StartServer(Protocol):
    def __call__(self, **options: Any) -> Server: ...


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Iterator[StartServer]:
    """Return a function that starts a server with its own data folder. All are stopped at the end."""
    servers = []

    def start(**options: Any) -> Server:
        data = tmp_path_factory.mktemp("data")
        settings = Settings(
            **{
                "data": data,
                "port": _free_port(),
                "broker_url": f"unix://{data}/no-broker.sock",
                "check_responses": True,
                "body_timeout_seconds": BODY_TIMEOUT_SECONDS,
                "stop_seconds": 4,
                "log_level": "warning",
                **options,
            }
        )
        wiring.prepare_embedded(settings)
        servers.append(_start(settings, data / "log", checker))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[Server]:
    """Provide the server that most tests share. It must not log a crash or a secret."""
    shared = start_server()
    yield shared
    log = shared.log.read_text("utf-8", "replace")
    assert "Traceback" not in log, log[max(0, log.index("Traceback") - 2000) :][:8000]
    assert PASSWORD not in log
    assert "Bearer" not in log


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def connection(server: Server) -> Iterator[RawConnection]:
    with server.connect() as connection:
        yield connection


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    assert isinstance(port, int)
    return port


def _start(settings: Settings, log: Path, checker: Checker) -> Server:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPREZ_")}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "uprez", "api"],
            cwd=ROOT,
            env={**inherited, **settings.environment(), "PYTHONWARNINGS": "default"},
            stdout=stderr,
            stderr=stderr,
        )
    server = Server(settings, wiring.make_services(settings), checker, process, log)
    deadline = time.monotonic() + _START_SECONDS
    while not _accepts(settings.port):
        assert process.poll() is None, log.read_text("utf-8", "replace")
        assert time.monotonic() < deadline, "The server did not start in time."
        threading.Event().wait(0.05)
    return server


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


# --- clients


class Client:
    """HTTP client based on the requests library. It validates every response."""

    def __init__(self, server: Server) -> None:
        self._checker = server.checker
        self._origin = f"http://127.0.0.1:{server.port}"
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def request(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        **options: Any,
    ) -> Response:
        """Send a request. ``target`` is a path or a complete URL."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        url = target if target.startswith("http") else f"{self._origin}{target}"
        began = time.perf_counter()
        received = self._session.request(
            method,
            url,
            headers={**sent, **(headers or {})},
            allow_redirects=False,
            timeout=_SOCKET_SECONDS,
            **options,
        )
        response = Response(
            received.status_code, received.headers, received.content, time.perf_counter() - began
        )
        names = [name.lower() for name in received.raw.headers]
        assert all(len(received.raw.headers.getlist(name)) == 1 for name in names), names
        path = "/" + url.split("/", 3)[3] if url.count("/") > 2 else "/"
        return self._checker.check(method, path, response)

    def get(self, target: str, **options: Any) -> Response:
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> Response:
        return self.request("POST", target, **options)

    def delete(self, target: str, **options: Any) -> Response:
        return self.request("DELETE", target, **options)

    def upload(
        self,
        token: str,
        content: bytes,
        filename: str = "photo.png",
        fields: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        media_type: str = "application/octet-stream",
    ) -> Response:
        """Upload one file as ``image`` with the given fields, which may repeat."""
        pairs = fields.items() if hasattr(fields, "items") else fields
        parts: list[Any] = [(name, (None, value)) for name, value in pairs]
        parts.append(("image", (filename, content, media_type)))
        return self.post("/api/images/upscale", token=token, files=parts)

    def upload_batch(
        self, token: str, contents: Sequence[bytes], fields: Mapping[str, str] | None = None
    ) -> Response:
        """Upload files as ``images[]``, named photo0.png and so on, with the given fields."""
        parts: list[Any] = [(name, (None, value)) for name, value in (fields or {}).items()]
        parts += [("images[]", (f"photo{number}.png", content)) for number, content in enumerate(contents)]
        return self.form(token, parts, "/api/batches")

    def form(
        self, token: str, parts: Sequence[tuple[str, Any]], path: str = "/api/images/upscale"
    ) -> Response:
        """Send a multipart form of exactly these parts, in the format of requests."""
        return self.post(path, token=token, files=list(parts))


class RawConnection:
    """A TCP connection, for requests that no HTTP library would send."""

    def __init__(self, port: int, checker: Checker) -> None:
        self._checker = checker
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_SOCKET_SECONDS)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def request(self, head: str, body: bytes = b"") -> Response:
        """Send ``head``, whose lines get CRLF and a final empty line, and ``body``; return the response."""
        self.send("\r\n".join(head.strip().splitlines()).encode("latin-1") + b"\r\n\r\n" + body)
        return self.read_response(*head.strip().split()[:2])

    def read_response(self, method: str = "GET", target: str = "/") -> Response:
        began = time.perf_counter()
        interim = []
        status, headers = self._head()
        while status < 200:
            interim.append(status)
            status, headers = self._head()
        bodiless = method == "HEAD" or status in {204, 304}
        body = b"" if bodiless else self._exactly(int(headers["Content-Length"]))
        response = Response(status, headers, body, time.perf_counter() - began, tuple(interim))
        return self._checker.check(method, target, response)

    def is_closed(self) -> bool:
        """Return whether the server closes the connection, without sending more, within the socket's timeout."""
        try:
            return not self._received and self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def is_silent(self, seconds: float) -> bool:
        """Return whether the server sends nothing for this time."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b"never"
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(_SOCKET_SECONDS)

    def _head(self) -> tuple[int, requests.structures.CaseInsensitiveDict[str]]:
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = requests.structures.CaseInsensitiveDict[str]()
        for line in lines:
            name, _, value = line.partition(":")
            assert name not in headers, f"{name} twice"
            headers[name] = value.strip()
        return int(status.split(" ")[1]), headers

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        content, self._received = self._received[:count], self._received[count:]
        return content

    def _more(self) -> None:
        content = self.socket.recv(65536)
        assert content, f"closed after {self._received!r}"
        self._received += content


# --- users and their images


@dataclass(frozen=True)
class User:
    account: Account
    token: str
    password: str = PASSWORD

    @property
    def email(self) -> str:
        return self.account.email


class MakeUser(Protocol):
    def __call__(
        self, *, plan: str = ..., verified: bool = ..., abilities: Sequence[str] = ..., email: str = ...
    ) -> User: ...


@pytest.fixture(scope="session")
def password_hash(server: Server) -> str:
    """Return the hash of ``PASSWORD``, made once because hashing is deliberately slow."""
    return server.services.passwords.hash(PASSWORD)


@pytest.fixture
def make_user(server: Server, password_hash: str) -> MakeUser:
    """Return a function that creates an account and a token with the given abilities."""

    def make(
        *,
        plan: str = "enterprise",
        verified: bool = True,
        abilities: Sequence[str] = tokens.ALL_ABILITIES,
        email: str = "",
    ) -> User:
        return create_user(
            server.services,
            password_hash,
            plan=plan,
            verified=verified,
            abilities=abilities,
            email=email or f"{secrets.token_hex(6)}@example.com",
        )

    return make


def create_user(
    services: Services,
    password_hash: str,
    *,
    plan: str = "enterprise",
    verified: bool = True,
    abilities: Sequence[str] = tokens.ALL_ABILITIES,
    email: str = "jane@example.com",
) -> User:
    account, token = accounts.create(
        services,
        name="Jane Smith",
        email=email,
        password_hash=password_hash,
        plan=plan,
        device_name="tests",
        verified=verified,
    )
    if tuple(abilities) != tokens.ALL_ABILITIES:
        with services.database.writing() as work:
            token = tokens.issue(
                work, services.random_source, account, "tests", services.clock.now(), abilities
            )
            work.commit()
    return User(account, token)


@pytest.fixture
def jane(make_user: MakeUser) -> User:
    """Return a verified user with enough quota for any test."""
    return make_user()


@pytest.fixture
def make_owner(password_hash: str) -> Callable[..., User]:
    """Return a function that creates an account in other services."""
    return lambda services, **options: create_user(services, password_hash, **options)


@pytest.fixture
def worker(server: Server) -> FakeWorker:
    return FakeWorker(server.services)


class FakeWorker:
    def __init__(self, services: Services) -> None:
        self._services = services

    def begin(self, image_id: int) -> None:
        jobs.claim(self._services, image_id)

    def complete(self, image_id: int) -> bytes:
        """Complete the image and return the content of its result."""
        image = jobs.claim(self._services, image_id)
        content = gradient(image.image_format.name, 16, 12)
        key = f"results/{secrets.token_hex(16)}-1{image.image_format.extension}"
        self._services.store.put(key, io.BytesIO(content))
        result = Result(key, len(content), Size(16, 12), 0.0, "tests", "cpu")
        assert jobs.complete(self._services, image, result)
        return content

    def fail(self, image_id: int) -> None:
        image = jobs.claim(self._services, image_id)
        assert jobs.fail(self._services, image, "The image could not be read.", refund=False)


# --- images


@pytest.fixture(scope="session")
def png(gradient: MakeGradient) -> bytes:
    return gradient("PNG")


# --- the application in this process, for faults that a real server cannot have


@dataclass
class InProcessClient:
    app: ASGIApp
    checker: Checker

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        path, _, query = target.partition("?")
        sent: list[Message] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in {
                    "Host": "testserver",
                    "Content-Length": str(len(body)),
                    **(headers or {}),
                }.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
            "state": {},
        }
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))  # type: ignore[arg-type]
        start, *chunks = sent
        headers_sent = requests.structures.CaseInsensitiveDict(
            (name.decode(), value.decode()) for name, value in start["headers"]
        )
        content = b"".join(chunk["body"] for chunk in chunks)
        return self.checker.check(method, target, Response(start["status"], headers_sent, content))


@pytest.fixture
def in_process(checker: Checker) -> Callable[[Services], InProcessClient]:
    def make(services: Services) -> InProcessClient:
        return InProcessClient(create_app(services, threads=2, body_timeout_seconds=1), checker)

    return make
