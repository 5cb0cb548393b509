"""Tests of the size and time limits of bodies."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from gradients import MakeGradient
    from tests.handlers.conftest import Client, RawConnection, Server, StartServer, User

UPLOAD = "/api/images/upscale"
MIB = 1024 * 1024
UPLOAD_CAP = 11 * MIB
JSON_CAP = 64 * 1024
TIMEOUT_SECONDS = 1.5  # of the shared server
DEFAULT_TIMEOUT_SECONDS = 10


# --- the size of a body


def upload_head(user: User | None, *lines: str) -> str:
    token = [] if user is None else [f"Authorization: Bearer {user.token}"]
    return "\n".join(
        [
            f"POST {UPLOAD} HTTP/1.1",
            "Host: x",
            "Content-Type: multipart/form-data; boundary=b",
            *token,
            *lines,
        ]
    )


def test_invalid_token_returns_401_before_the_body(connection: RawConnection) -> None:
    response = connection.request(
        upload_head(
            None, "Authorization: Bearer wrong", f"Content-Length: {200 * MIB}", "Expect: 100-continue"
        )
    )

    assert (response.status, response.interim) == (401, ())
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("over", [UPLOAD_CAP + 1, 200 * MIB, 2**63 - 1])
def test_declared_length_over_the_limit_returns_413_unread(
    connection: RawConnection, jane: User, over: int
) -> None:
    response = connection.request(upload_head(jane, f"Content-Length: {over}", "Expect: 100-continue"))

    assert (response.status, response.interim, response.message) == (413, (), "The request is too large.")


def test_accepted_body_gets_100_continue(connection: RawConnection, jane: User, png: bytes) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        + png
        + b"\r\n--b--\r\n"
    )
    connection.send(
        upload_head(jane, f"Content-Length: {len(body)}", "Expect: 100-continue")
        .replace("\n", "\r\n")
        .encode()
        + b"\r\n\r\n"
    )
    assert connection.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"

    connection.send(body)

    assert connection.read_response("POST", UPLOAD).status == 202


def test_chunked_body_over_the_limit_returns_413(client: Client, jane: User) -> None:
    body = iter(EndlessBody(20 * MIB))

    response = client.post(
        UPLOAD, token=jane.token, data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert response.status == 413
    assert response.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize("with_length", [True, False])
def test_client_that_sends_everything_can_read_the_413(
    client: Client, jane: User, *, with_length: bool
) -> None:
    body = EndlessBody(200 * MIB) if with_length else iter(EndlessBody(200 * MIB))

    response = client.post(
        UPLOAD, token=jane.token, data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert response.status == 413


class EndlessBody:
    """A body that starts like a form and continues with zeros, generated in pieces."""

    def __init__(self, size: int) -> None:
        self.len = size  # requests uses it for Content-Length
        self._left = size
        self._start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'

    def read(self, size: int = MIB) -> bytes:
        piece = self._start + bytes(min(size if size > 0 else MIB, self._left) - len(self._start))
        self._start = b""
        self._left -= len(piece)
        return piece if self._left > 0 else b""

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


@pytest.mark.parametrize("size", [JSON_CAP, JSON_CAP + 1])
def test_json_has_its_own_size_limit(client: Client, size: int) -> None:
    body = b'{"email": "x", "password": "x"}'.ljust(size)
    expected = 401 if size == JSON_CAP else 413
    headers = {"Content-Type": "application/json"}

    assert client.post("/api/auth/login", data=body, headers=headers).status == expected
    assert client.post("/api/auth/login", data=iter([body]), headers=headers).status == expected


def test_unwanted_body_is_not_stored(client: Client, server: Server, jane: User) -> None:
    """A large body is neither stored in memory nor rejected."""
    for method, path in (
        ("GET", "/api/profile-photos/JS"),
        ("GET", "/api/user"),
        ("POST", "/api/auth/logout"),
        ("GET", "/health/live"),
    ):
        with MemoryGrowth(server) as growth:
            response = client.request(method, path, token=jane.token, data=iter(EndlessBody(100 * MIB)))
        assert response.status == 200
        assert growth.max_bytes < 10 * MIB, path


def test_upload_uses_little_memory(
    client: Client, server: Server, jane: User, gradient: MakeGradient
) -> None:
    content = gradient("JPEG")
    content += bytes(10 * MIB - len(content))
    assert client.upload(jane.token, content).status == 202  # code that is loaded once must not count

    with MemoryGrowth(server) as growth:
        for _ in range(3):
            assert client.upload(jane.token, content).status == 202

    assert growth.max_bytes < 10 * MIB


# 200 MB are streamed from the socket to the spool and from there to the store.
def test_full_batch_uses_little_memory(
    client: Client, server: Server, jane: User, gradient: MakeGradient
) -> None:
    content = gradient("JPEG")
    content += bytes(10 * MIB - len(content))
    assert client.upload_batch(jane.token, [content]).status == 202  # code that is loaded once must not count

    with MemoryGrowth(server) as growth:
        response = client.upload_batch(jane.token, [content] * 20)

    assert response.status == 202
    assert growth.max_bytes < 20 * MIB


class MemoryGrowth:
    """Context manager that measures how much the server's memory grows within the block."""

    max_bytes = 0

    def __init__(self, server: Server) -> None:
        self._process = server.worker_process
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._before = self._process.memory_info().rss
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.max_bytes = max(self.max_bytes, self._process.memory_info().rss - self._before)


# --- the time a body takes


def test_stalled_body_returns_408(connection: RawConnection, jane: User) -> None:
    connection.send(
        upload_head(jane, "Content-Length: 1000").replace("\n", "\r\n").encode() + b"\r\n\r\n--b\r\n"
    )

    response = connection.read_response("POST", UPLOAD)

    assert (response.status, response.message) == (408, "The request took too long to arrive.")
    assert response.seconds < DEFAULT_TIMEOUT_SECONDS  # so this is the timeout of the setting
    assert response.headers["Connection"] == "close"


def test_stalled_bodies_do_not_delay_other_requests(
    start_server: StartServer, make_owner: Callable[..., User]
) -> None:
    """The bodies stall for as long as the other requests are measured, also on a slow machine."""
    timeout_seconds = 10.0
    server = start_server(body_timeout_seconds=timeout_seconds)
    jane = make_owner(server.services)
    head = upload_head(jane, "Content-Length: 1000").replace("\n", "\r\n").encode() + b"\r\n\r\n--b\r\n"
    with ExitStack() as open_connections, server.client() as client:
        connections = [open_connections.enter_context(server.connect()) for _ in range(300)]
        for connection in connections:
            connection.send(head)
        began = time.perf_counter()
        for _ in range(20):
            assert client.get("/api/user", token=jane.token).status == 200
        assert time.perf_counter() - began < timeout_seconds

        assert {connection.read_response("POST", UPLOAD).status for connection in connections} == {408}


def test_slow_body_that_never_stalls_is_accepted(connection: RawConnection) -> None:
    body = b'{"email": "jane@example.com", "password": "x"}'
    connection.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    connection.send(b"Content-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 16):
        connection.send(body[at : at + 16])
        threading.Event().wait(TIMEOUT_SECONDS * 0.4)

    assert connection.read_response("POST", "/api/auth/login").status == 401


def spooled_files(server: Server) -> list[str]:
    """Return the open files of the spool folder. They are unlinked, so that only the kernel lists them."""
    folder = Path(f"/proc/{server.worker_process.pid}/fd")
    targets = []
    for descriptor in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            targets.append(str(descriptor.readlink()))
    return [target for target in targets if str(server.settings.data / "spool") in target]


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="only Linux shows the files of another process"
)
def test_disconnect_during_an_upload_leaves_no_file(client: Client, server: Server, jane: User) -> None:
    spool, originals = server.settings.data / "spool", server.settings.data / "files" / "originals"
    before = set(originals.iterdir()) if originals.exists() else set()
    for _ in range(5):
        with server.connect() as connection:
            connection.send(upload_head(jane, f"Content-Length: {8 * MIB}").replace("\n", "\r\n").encode())
            connection.send(
                b'\r\n\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
                + bytes(3 * MIB)
            )
            deadline = time.monotonic() + 60
            while not (found := spooled_files(server)) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert found  # otherwise this test would not detect a leak
    deadline = time.monotonic() + 60
    while spooled_files(server) and time.monotonic() < deadline:
        client.get("/health/live")

    assert spooled_files(server) == []
    assert client.get("/api/images", token=jane.token).data == []
    assert not list(spool.iterdir())
    assert (set(originals.iterdir()) if originals.exists() else set()) == before
