"""Tests of signed links and images of initials: responses without envelope and authentication."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest

from domain import images

if TYPE_CHECKING:
    from gradients import MakeGradient
    from tests.handlers.conftest import Client, FakeWorker, Server, User


@dataclass(frozen=True)
class Download:
    id: int
    url: str
    content: bytes


@pytest.fixture
def download(client: Client, jane: User, png: bytes, worker: FakeWorker) -> Download:
    image_id = client.upload(jane.token, png, "photo.png").data["id"]
    content = worker.complete(image_id)
    url = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    return Download(image_id, url, content)


def test_signed_link_returns_the_file_without_a_token(client: Client, download: Download) -> None:
    response = client.get(download.url)

    assert (response.status, response.body) == (200, download.content)
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == "attachment; filename=photo.png"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert client.get(download.url, headers={"Authorization": "Bearer wrong"}).status == 200


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_media_type_is_that_of_the_content(
    client: Client, jane: User, worker: FakeWorker, gradient: MakeGradient, image_format: str
) -> None:
    image_id = client.upload(jane.token, gradient(image_format), "page.html", media_type="text/html").data[
        "id"
    ]
    content = worker.complete(image_id)

    data = client.get(f"/api/images/{image_id}/download", token=jane.token).data
    response = client.get(data["download_url"])

    assert response.body == content
    assert response.headers["Content-Type"] == f"image/{image_format.lower()}"
    assert data["filename"].startswith("page.html.")


def test_changed_link_returns_403(client: Client, download: Download) -> None:
    """Change each character, add one, remove one, and change the unused bits of base64."""
    start, _, key = download.url.rpartition("/")
    changed = {f"{key[:at]}{_different_letter(key[at])}{key[at + 1 :]}" for at in range(len(key))}
    changed |= {
        key + "A",
        key + "=",
        "." + key,
        key.rpartition(".")[0],
        key.rpartition(".")[0] + ".",
        key[:20],
        "x",
    }
    changed |= {key.replace(".", "%20."), key + "%00", key + "%C3%A9", "A" * 1500}

    for other in changed - {key}:
        response = client.get(f"{start}/{other}")
        assert (response.status, response.message) == (403, "This link is invalid or has expired."), other


def _different_letter(letter: str) -> str:
    return "A" if letter != "A" else "B"


@pytest.mark.parametrize("query", ["?x=1", "?response-content-type=text/html", "?a", "?&"])
def test_link_with_a_query_returns_403(client: Client, download: Download, query: str) -> None:
    assert client.get(download.url + query).status == 403


def test_expired_link_returns_403(client: Client, download: Download, server: Server, jane: User) -> None:
    class LateClock:
        def now(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return server.services.clock.now() - timedelta(hours=1, seconds=2)

    earlier = replace(server.services, clock=LateClock())
    expired = images.download(earlier, jane.account, download.id).url

    assert client.get(expired).status == 403


def test_verification_link_downloads_no_file(client: Client, server: Server) -> None:
    services = server.services
    expires_at = services.clock.now() + timedelta(hours=1)
    signed = services.links.sign(
        "verify-email", {"method": "GET", "key": "originals/x.png", "name": "x"}, expires_at
    )

    assert client.get(f"/api/files/{signed}").status == 403


def test_deleted_file_returns_404(client: Client, download: Download, jane: User) -> None:
    client.delete(f"/api/images/{download.id}", token=jane.token)

    response = client.get(download.url)

    assert (response.status, response.message) == (404, "Not found.")


# --- ranges and conditions


@pytest.mark.parametrize(
    ("range_header", "start", "stop"),
    [("0-9", 0, 10), ("5-", 5, None), ("-7", -7, None), ("10-99999", 10, None)],
)
def test_range_returns_206(
    client: Client, download: Download, range_header: str, start: int, stop: int | None
) -> None:
    response = client.get(download.url, headers={"Range": f"bytes={range_header}"})

    assert response.status == 206
    assert response.body == download.content[start:stop]
    assert response.headers["Content-Range"].endswith(f"/{len(download.content)}")
    assert int(response.headers["Content-Length"]) == len(response.body)


@pytest.mark.parametrize("range_header", ["99999-", "99999-100000"])
def test_range_beyond_the_end_returns_416(client: Client, download: Download, range_header: str) -> None:
    response = client.get(download.url, headers={"Range": f"bytes={range_header}"})

    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{len(download.content)}"


# RFC 9110, 14.2: other units are ignored, and several ranges may be ignored.
@pytest.mark.parametrize(
    "range_header", ["bytes=0-1,3-4", "bytes=x", "bytes=", "lines=0-1", "0-1", "bytes=--1", "x"]
)
def test_unsupported_range_is_ignored(client: Client, download: Download, range_header: str) -> None:
    response = client.get(download.url, headers={"Range": range_header})

    assert (response.status, response.body) == (200, download.content)


@pytest.mark.parametrize("range_header", ["bytes=9-1", f"bytes={'9' * 5000}-"])
def test_senseless_range_does_not_crash(client: Client, download: Download, range_header: str) -> None:
    assert client.get(download.url, headers={"Range": range_header}).status in {200, 416}


def test_conditional_request_returns_304(client: Client, download: Download) -> None:
    headers = client.get(download.url).headers

    assert client.get(download.url, headers={"If-None-Match": headers["ETag"]}).status == 304
    assert client.get(download.url, headers={"If-None-Match": "*"}).status == 304
    assert client.get(download.url, headers={"If-Modified-Since": headers["Last-Modified"]}).status == 304
    assert client.get(download.url, headers={"If-None-Match": '"another"'}).status == 200
    assert client.get(download.url, headers={"If-Match": '"another"'}).status == 200


def test_if_range_applies_only_to_the_same_file(client: Client, download: Download) -> None:
    same = client.get(download.url).headers["ETag"]

    assert client.get(download.url, headers={"Range": "bytes=0-1", "If-Range": same}).status == 206
    assert client.get(download.url, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).status == 200


def test_large_file_is_sent_whole(
    client: Client, jane: User, png: bytes, server: Server, worker: FakeWorker
) -> None:
    """The response has many chunks."""
    image_id = client.upload(jane.token, png).data["id"]
    worker.complete(image_id)
    with server.services.database.reading() as unit:
        image = unit.images.get(image_id)
    assert image is not None
    assert image.result is not None
    content = bytes(range(256)) * 20_000
    (server.settings.data / "files" / image.result.key).write_bytes(content)

    data = client.get(f"/api/images/{image_id}/download", token=jane.token).data

    assert client.get(data["download_url"]).body == content
    assert (
        client.get(data["download_url"], headers={"Range": "bytes=1000000-2999999"}).body
        == content[1000000:3000000]
    )
    assert client.request("HEAD", data["download_url"]).headers["Content-Length"] == str(len(content))


def test_disconnect_during_a_download_leaks_no_file(
    client: Client, jane: User, png: bytes, server: Server, worker: FakeWorker
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    worker.complete(image_id)
    with server.services.database.reading() as unit:
        image = unit.images.get(image_id)
    assert image is not None
    assert image.result is not None
    (server.settings.data / "files" / image.result.key).write_bytes(bytes(8_000_000))
    url = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    before = server.worker_process.num_fds()
    for _ in range(5):
        with server.connect() as connection:
            connection.send(f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.socket.recv(1000)

    assert client.get("/health/live").status == 200
    deadline = time.monotonic() + 60
    while server.worker_process.num_fds() > before and time.monotonic() < deadline:
        client.get("/health/live")
    assert server.worker_process.num_fds() <= before


# --- filenames


UNSAFE_FILENAMES = {
    "../../etc/passwd": "passwd.png",
    "..\\..\\boot.ini": "boot.ini.png",
    "C:\\fakepath\\photo.png": "photo.png",
    "/absolute/photo.png": "photo.png",
    "...": "image.png",
    ".": "image.png",
    " ": "image.png",
    ".png": "png.png",
    "a\x00b.png": "ab.png",
    "a\tb.png": "ab.png",
    "a\x7fb\x85.png": "ab.png",
    "\u202egnp.exe": "gnp.exe.png",
    "photo 🙂 李.png": "photo 🙂 李.png",
    "CON": "CON.png",
    "con.png": "con.png",
    "a;b=c.png": "a;b=c.png",
    "it's 100%.png": "it's 100%.png",
    "<script>alert(1)</script>.png": "script>.png",
    "photo.PNG": "photo.PNG",
    "photo.jpeg": "photo.png",
    "photo.tar.gz": "photo.tar.gz.png",
    "é.png": "é.png",
    "$(reboot)`id`.png": "$(reboot)`id`.png",
}


@pytest.mark.parametrize(("sent", "kept"), UNSAFE_FILENAMES.items())
def test_filename_is_cleaned_and_never_a_path(
    client: Client, jane: User, png: bytes, worker: FakeWorker, server: Server, sent: str, kept: str
) -> None:
    _expect_filename(client, jane, png, worker, server, sent.encode(), kept)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'say \\"cheese\\".png', 'say "cheese".png'),
        (b"a\xff\xfeb.png", "aÿþb.png"),
        (b"%22quoted%22.png", "%22quoted%22.png"),
        (b"a%0D%0ASet-Cookie: x=1.png", "a%0D%0ASet-Cookie: x=1.png"),
        (b"x" * 3900 + b".png", "x" * 251 + ".png"),
        (b"", "image.png"),
    ],
)
def test_filename_of_unusual_bytes_is_cleaned(
    client: Client, jane: User, png: bytes, worker: FakeWorker, server: Server, sent: bytes, kept: str
) -> None:
    _expect_filename(client, jane, png, worker, server, sent, kept)


def test_longest_filename_of_rare_characters_is_downloadable(
    client: Client, jane: User, png: bytes, worker: FakeWorker, server: Server
) -> None:
    """Each character needs twelve bytes in the link, and compresses badly."""
    name = "".join(chr(0x20000 + at * 7919 % 42000) for at in range(251)) + ".png"
    _expect_filename(client, jane, png, worker, server, name.encode(), name)


def test_filename_of_ten_kilobytes_returns_400(client: Client, jane: User, png: bytes) -> None:
    assert _send(client, jane, png, b"x" * 10_000 + b".png").status == 400


def test_filename_with_line_breaks_adds_no_header(client: Client, jane: User, png: bytes) -> None:
    """Either the form is rejected or the filename is cleaned."""
    response = _send(client, jane, png, b"a\r\nX-Evil: 1\r\n.png")

    assert response.status in {202, 400}
    if response.status == 202:
        assert response.data["original_filename"].isprintable()


def _send(client: Client, jane: User, png: bytes, name: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="'
        + name
        + b'"\r\n\r\n'
        + png
        + b"\r\n--b--\r\n"
    )
    return client.post(
        "/api/images/upscale",
        token=jane.token,
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )


def _expect_filename(
    client: Client, jane: User, png: bytes, worker: FakeWorker, server: Server, sent: bytes, kept: str
) -> None:
    accepted = _send(client, jane, png, sent)
    assert accepted.status == 202
    shown = accepted.data["original_filename"]
    assert shown
    assert shown.isprintable()
    assert "/" not in shown
    worker.complete(accepted.data["id"])

    data = client.get(f"/api/images/{accepted.data['id']}/download", token=jane.token).data
    response = client.get(data["download_url"])

    assert data["filename"] == kept
    assert response.status == 200
    assert _saved_filename(response.headers["Content-Disposition"]) == kept
    assert "Set-Cookie" not in response.headers
    assert "X-Evil" not in response.headers
    stored = [path.name for path in (server.settings.data / "files").rglob("*") if path.is_file()]
    assert kept not in stored


def _saved_filename(disposition: str) -> str:
    """Return the filename that a browser uses (RFC 6266): ``filename*`` takes precedence over ``filename``."""
    extended = re.search(r"filename\*=UTF-8''([^; ]+)", disposition)
    if extended is not None:
        return unquote(extended[1])
    plain = re.search(r'filename=(?:"((?:[^"\\]|\\.)*)"|([^"; ]+))', disposition)
    assert plain is not None, disposition
    return re.sub(r"\\(.)", r"\1", plain[1] or plain[2])


# --- images of initials


@pytest.mark.parametrize("letters", ["J", "JS", "李", "ÄÖ", "?", "&<", "🙂"])
def test_initials_return_an_svg_image(client: Client, letters: str) -> None:
    response = client.get(f"/api/profile-photos/{quote(letters, safe='')}")

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("image/svg+xml")
    assert response.headers["Cache-Control"] == "public, max-age=86400"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert b"<script" not in response.body


@pytest.mark.parametrize("letters", ["ABC", "x" * 100, "", "a/b"])
def test_more_than_two_initials_return_404(client: Client, letters: str) -> None:
    assert client.get(f"/api/profile-photos/{letters}").status == 404
