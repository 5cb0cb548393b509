"""Methods, the size of bodies and the time they take; the quota on answers."""

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
    from tests.handlers.conftest import Client, Person, Server, StartServer, Wire, Work

UPLOAD = "/api/images/upscale"
MIB = 1024 * 1024
UPLOAD_CAP = 11 * MIB
JSON_CAP = 64 * 1024
TIMEOUT_SECONDS = 1.5  # of this server; ten by default

ALLOWED = {
    "/api/auth/register": "POST",
    "/api/auth/login": "POST",
    "/api/auth/logout": "POST",
    "/api/auth/verify-email/1/x": "GET, HEAD",
    UPLOAD: "POST",
    "/api/images": "GET, HEAD",
    "/api/images/1": "GET, HEAD, DELETE",
    "/api/images/1/download": "GET, HEAD",
    "/api/user": "GET, HEAD",
    "/api/profile-photos/JS": "GET, HEAD",
    "/api/files/x": "GET, HEAD",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


# --- methods


@pytest.mark.parametrize("path", ALLOWED)
def test_a_method_that_a_resource_lacks_is_answered_with_those_it_has(client: Client, path: str) -> None:
    for method in METHODS:
        if method in ALLOWED[path].split(", "):
            continue
        reply = client.request(method, path)
        assert reply.status == 405, method
        assert reply.headers["Allow"] == ALLOWED[path]
        if method != "HEAD":
            assert reply.message == "Method not allowed."


def test_a_preflight_request_opens_nothing(client: Client) -> None:
    reply = client.request(
        "OPTIONS",
        "/api/user",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"},
    )

    assert reply.status == 405
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("override", ["X-HTTP-Method-Override", "X-Method-Override"])
def test_the_method_cannot_be_overridden(client: Client, jane: Person, png: bytes, override: str) -> None:
    image_id = client.upload(jane.token, png).data["id"]

    client.get(f"/api/images/{image_id}", token=jane.token, headers={override: "DELETE"})

    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 200


def test_head_is_get_without_its_body(client: Client, jane: Person, png: bytes, work: Work) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    work.complete(image_id)
    file = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    paths = [
        "/api/user",
        "/api/images",
        f"/api/images/{image_id}",
        "/api/images/0",
        "/api/images?page=0",
        "/api/nowhere",
        "/api/profile-photos/JS",
        "/health/live",
        file,
    ]
    for path in paths:
        of_get = client.get(path, token=jane.token)
        of_head = client.request("HEAD", path, token=jane.token)

        assert of_head.status == of_get.status, path
        for name in (
            "Content-Type",
            "Content-Length",
            "Cache-Control",
            "Content-Disposition",
            "X-RateLimit-Remaining",
        ):
            assert of_head.headers.get(name) == of_get.headers.get(name), (path, name)
    assert client.request("HEAD", "/api/user").status == 401


# --- the size of a body


def upload_head(person: Person | None, *lines: str) -> str:
    token = [] if person is None else [f"Authorization: Bearer {person.token}"]
    return "\n".join(
        [
            f"POST {UPLOAD} HTTP/1.1",
            "Host: x",
            "Content-Type: multipart/form-data; boundary=b",
            *token,
            *lines,
        ]
    )


def test_a_wrong_token_is_answered_before_anything_of_the_body_comes(wire: Wire) -> None:
    reply = wire.ask(
        upload_head(
            None, "Authorization: Bearer wrong", f"Content-Length: {200 * MIB}", "Expect: 100-continue"
        )
    )

    assert (reply.status, reply.interim) == (401, ())
    assert reply.seconds < 5
    assert reply.headers["Connection"] == "close"


@pytest.mark.parametrize("over", [UPLOAD_CAP + 1, 200 * MIB, 2**63 - 1])
def test_a_body_over_the_cap_is_refused_before_it_is_read(wire: Wire, jane: Person, over: int) -> None:
    reply = wire.ask(upload_head(jane, f"Content-Length: {over}", "Expect: 100-continue"))

    assert (reply.status, reply.interim, reply.message) == (413, (), "The request is too large.")
    assert reply.seconds < 5


def test_a_body_that_is_wanted_is_asked_for(wire: Wire, jane: Person, png: bytes) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        + png
        + b"\r\n--b--\r\n"
    )
    wire.send(
        upload_head(jane, f"Content-Length: {len(body)}", "Expect: 100-continue")
        .replace("\n", "\r\n")
        .encode()
        + b"\r\n\r\n"
    )
    assert wire.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"

    wire.send(body)

    assert wire.reply("POST", UPLOAD).status == 202


def test_a_body_without_length_is_refused_when_it_passes_the_cap(client: Client, jane: Person) -> None:
    body = iter(Endless(20 * MIB))

    reply = client.post(
        UPLOAD, token=jane.token, data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert reply.status == 413
    assert reply.headers["X-RateLimit-Remaining"] == "1000"


@pytest.mark.parametrize("with_length", [True, False])
def test_a_client_that_sends_everything_first_still_reads_the_refusal(
    client: Client, jane: Person, *, with_length: bool
) -> None:
    body = Endless(200 * MIB) if with_length else iter(Endless(200 * MIB))

    reply = client.post(
        UPLOAD, token=jane.token, data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert reply.status == 413


class Endless:
    """The beginning of a form and then zeros, read piece by piece."""

    def __init__(self, size: int) -> None:
        self.len = size  # what requests makes a Content-Length of
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
def test_json_has_a_cap_of_its_own(client: Client, size: int) -> None:
    body = b'{"email": "x", "password": "x"}'.ljust(size)
    expected = 401 if size == JSON_CAP else 413
    headers = {"Content-Type": "application/json"}

    assert client.post("/api/auth/login", data=body, headers=headers).status == expected
    assert client.post("/api/auth/login", data=iter([body]), headers=headers).status == expected


def test_a_body_where_none_belongs_is_not_kept(client: Client, server: Server, jane: Person) -> None:
    """However large: it is neither read into memory nor a reason to refuse."""
    for method, path in (
        ("GET", "/api/profile-photos/JS"),
        ("GET", "/api/user"),
        ("POST", "/api/auth/logout"),
        ("GET", "/health/live"),
    ):
        with growth_of(server) as growth:
            reply = client.request(method, path, token=jane.token, data=iter(Endless(100 * MIB)))
        assert reply.status == 200
        assert growth.most < 10 * MIB, path


def test_an_upload_takes_no_memory(
    client: Client, server: Server, jane: Person, gradient: MakeGradient
) -> None:
    content = gradient("JPEG")
    content += bytes(10 * MIB - len(content))
    assert client.upload(jane.token, content).status == 202  # what is loaded once is not counted

    with growth_of(server) as growth:
        for _ in range(3):
            assert client.upload(jane.token, content).status == 202

    assert growth.most < 10 * MIB


# Two hundred megabytes, streamed from the socket to the spool and from there to the store.
def test_a_full_batch_takes_little_memory(
    client: Client, server: Server, jane: Person, gradient: MakeGradient
) -> None:
    content = gradient("JPEG")
    content += bytes(10 * MIB - len(content))
    assert client.upload_batch(jane.token, [content]).status == 202  # what is loaded once is not counted

    with growth_of(server) as growth:
        reply = client.upload_batch(jane.token, [content] * 20)

    assert reply.status == 202
    assert growth.most < 20 * MIB


class growth_of:  # noqa: N801  # reads as a function
    """By how much the server's memory grows within the block, at most, in bytes."""

    most = 0

    def __init__(self, server: Server) -> None:
        self._process = server.worker
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
            self.most = max(self.most, self._process.memory_info().rss - self._before)


# --- the time a body takes


def test_a_body_that_stalls_is_given_up(wire: Wire, jane: Person) -> None:
    wire.send(upload_head(jane, "Content-Length: 1000").replace("\n", "\r\n").encode() + b"\r\n\r\n--b\r\n")

    reply = wire.reply("POST", UPLOAD)

    assert (reply.status, reply.message) == (408, "The request took too long to arrive.")
    assert reply.seconds < TIMEOUT_SECONDS + 1
    assert reply.headers["Connection"] == "close"


def test_many_bodies_that_stall_keep_nobody_waiting(
    start_server: StartServer, make_owner: Callable[..., Person]
) -> None:
    """They stall for as long as the readers are timed, on a machine as slow as it likes to be."""
    patience = 10.0
    server = start_server(body_timeout_seconds=patience)
    jane = make_owner(server.services)
    head = upload_head(jane, "Content-Length: 1000").replace("\n", "\r\n").encode() + b"\r\n\r\n--b\r\n"
    with ExitStack() as open_wires, server.client() as client:
        wires = [open_wires.enter_context(server.connect()) for _ in range(300)]
        for wire in wires:
            wire.send(head)
        began = time.perf_counter()
        for _ in range(20):
            assert client.get("/api/user", token=jane.token).status == 200
        assert time.perf_counter() - began < patience

        assert {wire.reply("POST", UPLOAD).status for wire in wires} == {408}


def test_a_body_that_is_slow_but_never_stalls_is_read(wire: Wire) -> None:
    body = b'{"email": "jane@example.com", "password": "x"}'
    wire.send(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    wire.send(b"Content-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 16):
        wire.send(body[at : at + 16])
        threading.Event().wait(TIMEOUT_SECONDS * 0.4)

    assert wire.reply("POST", "/api/auth/login").status == 401


def spooled_files(server: Server) -> list[str]:
    """Open files of the spool folder; they have no names any more, so only the kernel knows of them."""
    folder = Path(f"/proc/{server.worker.pid}/fd")
    targets = []
    for descriptor in folder.iterdir():
        with suppress(FileNotFoundError):  # closed since
            targets.append(str(descriptor.readlink()))
    return [target for target in targets if str(server.settings.data / "spool") in target]


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="only Linux shows the files of another process"
)
def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    client: Client, server: Server, jane: Person
) -> None:
    spool, originals = server.settings.data / "spool", server.settings.data / "files" / "originals"
    before = set(originals.iterdir()) if originals.exists() else set()
    for _ in range(5):
        with server.connect() as wire:
            wire.send(upload_head(jane, f"Content-Length: {8 * MIB}").replace("\n", "\r\n").encode())
            wire.send(
                b'\r\n\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
                + bytes(3 * MIB)
            )
            seen = time.monotonic() + 5
            while not spooled_files(server) and time.monotonic() < seen:
                client.get("/health/live")
            assert spooled_files(server)  # otherwise this test would see no leak either
    deadline = time.monotonic() + 5
    while spooled_files(server) and time.monotonic() < deadline:
        client.get("/health/live")

    assert spooled_files(server) == []
    assert client.get("/api/images", token=jane.token).data == []
    assert not list(spool.iterdir())
    assert (set(originals.iterdir()) if originals.exists() else set()) == before
