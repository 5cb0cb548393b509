"""Signed links to files, and the pictures of initials: answers without an envelope, and without a token."""

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
    from tests.handlers.conftest import Client, Person, Server, Work


@dataclass(frozen=True)
class Download:
    id: int
    url: str
    content: bytes


@pytest.fixture
def download(client: Client, jane: Person, png: bytes, work: Work) -> Download:
    image_id = client.upload(jane.token, png, "photo.png").data["id"]
    content = work.complete(image_id)
    url = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    return Download(image_id, url, content)


def test_whoever_has_the_link_gets_the_file(client: Client, download: Download) -> None:
    reply = client.get(download.url)

    assert (reply.status, reply.body) == (200, download.content)
    assert reply.headers["Content-Type"] == "image/png"
    assert reply.headers["Content-Disposition"] == "attachment; filename=photo.png"
    assert reply.headers["Cache-Control"] == "private, no-store"
    assert "sandbox" in reply.headers["Content-Security-Policy"]
    assert client.get(download.url, headers={"Authorization": "Bearer wrong"}).status == 200


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_the_media_type_is_that_of_the_content(
    client: Client, jane: Person, work: Work, gradient: MakeGradient, image_format: str
) -> None:
    image_id = client.upload(jane.token, gradient(image_format), "page.html", media_type="text/html").data[
        "id"
    ]
    content = work.complete(image_id)

    data = client.get(f"/api/images/{image_id}/download", token=jane.token).data
    reply = client.get(data["download_url"])

    assert reply.body == content
    assert reply.headers["Content-Type"] == f"image/{image_format.lower()}"
    assert data["filename"].startswith("page.html.")


def test_nothing_in_a_link_can_be_changed(client: Client, download: Download) -> None:
    """Every single letter, one more, one less, and the spare bits of base64."""
    start, _, key = download.url.rpartition("/")
    changed = {f"{key[:at]}{_another(key[at])}{key[at + 1 :]}" for at in range(len(key))}
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
        reply = client.get(f"{start}/{other}")
        assert (reply.status, reply.message) == (403, "This link is invalid or has expired."), other


def _another(letter: str) -> str:
    return "A" if letter != "A" else "B"


@pytest.mark.parametrize("query", ["?x=1", "?response-content-type=text/html", "?a", "?&"])
def test_nothing_can_be_added_to_a_link(client: Client, download: Download, query: str) -> None:
    assert client.get(download.url + query).status == 403


def test_an_expired_link_is_refused(client: Client, download: Download, server: Server, jane: Person) -> None:
    class LateClock:
        def now(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return server.services.clock.now() - timedelta(hours=1, seconds=2)

    earlier = replace(server.services, clock=LateClock())
    expired = images.download(earlier, jane.account, download.id).url

    assert client.get(expired).status == 403


def test_a_link_for_something_else_downloads_nothing(client: Client, server: Server) -> None:
    services = server.services
    expires_at = services.clock.now() + timedelta(hours=1)
    signed = services.links.sign(
        "verify-email", {"method": "GET", "key": "originals/x.png", "name": "x"}, expires_at
    )

    assert client.get(f"/api/files/{signed}").status == 403


def test_a_deleted_file_is_not_found(client: Client, download: Download, jane: Person) -> None:
    client.delete(f"/api/images/{download.id}", token=jane.token)

    reply = client.get(download.url)

    assert (reply.status, reply.message) == (404, "Not found.")


# --- parts of files


@pytest.mark.parametrize(
    ("asked", "start", "stop"), [("0-9", 0, 10), ("5-", 5, None), ("-7", -7, None), ("10-99999", 10, None)]
)
def test_a_part_of_a_file_can_be_fetched(
    client: Client, download: Download, asked: str, start: int, stop: int | None
) -> None:
    reply = client.get(download.url, headers={"Range": f"bytes={asked}"})

    assert reply.status == 206
    assert reply.body == download.content[start:stop]
    assert reply.headers["Content-Range"].endswith(f"/{len(download.content)}")
    assert int(reply.headers["Content-Length"]) == len(reply.body)


@pytest.mark.parametrize("asked", ["99999-", "99999-100000"])
def test_a_part_that_is_not_there_is_refused(client: Client, download: Download, asked: str) -> None:
    reply = client.get(download.url, headers={"Range": f"bytes={asked}"})

    assert reply.status == 416
    assert reply.headers["Content-Range"] == f"bytes */{len(download.content)}"


# As RFC 9110 (14.2) has it: what is no range of bytes is ignored, and several may be.
@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=x", "bytes=", "lines=0-1", "0-1", "bytes=--1", "x"]
)
def test_a_range_that_is_none_of_ours_is_ignored(client: Client, download: Download, asked: str) -> None:
    reply = client.get(download.url, headers={"Range": asked})

    assert (reply.status, reply.body) == (200, download.content)


@pytest.mark.parametrize("asked", ["bytes=9-1", f"bytes={'9' * 5000}-"])
def test_a_range_of_no_sense_breaks_nothing(client: Client, download: Download, asked: str) -> None:
    assert client.get(download.url, headers={"Range": asked}).status in {200, 416}


def test_a_file_that_the_client_has_is_not_sent_again(client: Client, download: Download) -> None:
    headers = client.get(download.url).headers

    assert client.get(download.url, headers={"If-None-Match": headers["ETag"]}).status == 304
    assert client.get(download.url, headers={"If-None-Match": "*"}).status == 304
    assert client.get(download.url, headers={"If-Modified-Since": headers["Last-Modified"]}).status == 304
    assert client.get(download.url, headers={"If-None-Match": '"another"'}).status == 200
    assert client.get(download.url, headers={"If-Match": '"another"'}).status == 200


def test_a_part_is_only_joined_to_the_same_file(client: Client, download: Download) -> None:
    same = client.get(download.url).headers["ETag"]

    assert client.get(download.url, headers={"Range": "bytes=0-1", "If-Range": same}).status == 206
    assert client.get(download.url, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).status == 200


def test_a_large_file_comes_whole(
    client: Client, jane: Person, png: bytes, server: Server, work: Work
) -> None:
    """Of many chunks, and read at its own pace."""
    image_id = client.upload(jane.token, png).data["id"]
    work.complete(image_id)
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


def test_a_client_that_leaves_in_the_middle_breaks_nothing(
    client: Client, jane: Person, png: bytes, server: Server, work: Work
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    work.complete(image_id)
    with server.services.database.reading() as unit:
        image = unit.images.get(image_id)
    assert image is not None
    assert image.result is not None
    (server.settings.data / "files" / image.result.key).write_bytes(bytes(8_000_000))
    url = client.get(f"/api/images/{image_id}/download", token=jane.token).data["download_url"]
    before = server.worker.num_fds()
    for _ in range(5):
        with server.connect() as wire:
            wire.send(f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert wire.socket.recv(1000)

    assert client.get("/health/live").status == 200
    deadline = time.monotonic() + 5
    while server.worker.num_fds() > before and time.monotonic() < deadline:
        client.get("/health/live")
    assert server.worker.num_fds() <= before


# --- names


HOSTILE_NAMES = {
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


@pytest.mark.parametrize(("sent", "kept"), HOSTILE_NAMES.items())
def test_a_name_is_cleaned_and_never_a_path(
    client: Client, jane: Person, png: bytes, work: Work, server: Server, sent: str, kept: str
) -> None:
    _check_name(client, jane, png, work, server, sent.encode(), kept)


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
def test_a_name_of_strange_bytes_is_cleaned_too(
    client: Client, jane: Person, png: bytes, work: Work, server: Server, sent: bytes, kept: str
) -> None:
    _check_name(client, jane, png, work, server, sent, kept)


def test_the_longest_name_of_the_rarest_letters_can_be_downloaded(
    client: Client, jane: Person, png: bytes, work: Work, server: Server
) -> None:
    """Each takes twelve bytes in the link, and there is little to compress."""
    name = "".join(chr(0x20000 + at * 7919 % 42000) for at in range(251)) + ".png"
    _check_name(client, jane, png, work, server, name.encode(), name)


def test_a_name_of_ten_kilobytes_is_no_form(client: Client, jane: Person, png: bytes) -> None:
    assert _send(client, jane, png, b"x" * 10_000 + b".png").status == 400


def test_a_name_with_line_breaks_adds_no_header(client: Client, jane: Person, png: bytes) -> None:
    """Whether the form is refused or the name cleaned."""
    reply = _send(client, jane, png, b"a\r\nX-Evil: 1\r\n.png")

    assert reply.status in {202, 400}
    if reply.status == 202:
        assert reply.data["original_filename"].isprintable()


def _send(client: Client, jane: Person, png: bytes, name: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202
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


def _check_name(
    client: Client, jane: Person, png: bytes, work: Work, server: Server, sent: bytes, kept: str
) -> None:
    accepted = _send(client, jane, png, sent)
    assert accepted.status == 202
    shown = accepted.data["original_filename"]
    assert shown
    assert shown.isprintable()
    assert "/" not in shown
    work.complete(accepted.data["id"])

    data = client.get(f"/api/images/{accepted.data['id']}/download", token=jane.token).data
    reply = client.get(data["download_url"])

    assert data["filename"] == kept
    assert reply.status == 200
    assert _saved_under(reply.headers["Content-Disposition"]) == kept
    assert "Set-Cookie" not in reply.headers
    assert "X-Evil" not in reply.headers
    stored = [path.name for path in (server.settings.data / "files").rglob("*") if path.is_file()]
    assert kept not in stored


def _saved_under(disposition: str) -> str:
    """As RFC 6266 has browsers read it: ``filename*`` goes before ``filename``."""
    extended = re.search(r"filename\*=UTF-8''([^; ]+)", disposition)
    if extended is not None:
        return unquote(extended[1])
    plain = re.search(r'filename=(?:"((?:[^"\\]|\\.)*)"|([^"; ]+))', disposition)
    assert plain is not None, disposition
    return re.sub(r"\\(.)", r"\1", plain[1] or plain[2])


# --- pictures of initials


@pytest.mark.parametrize("letters", ["J", "JS", "李", "ÄÖ", "?", "&<", "🙂"])
def test_initials_are_a_picture(client: Client, letters: str) -> None:
    reply = client.get(f"/api/profile-photos/{quote(letters, safe='')}")

    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("image/svg+xml")
    assert reply.headers["Cache-Control"] == "public, max-age=86400"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert b"<script" not in reply.body


@pytest.mark.parametrize("letters", ["ABC", "x" * 100, "", "a/b"])
def test_more_than_initials_are_not_found(client: Client, letters: str) -> None:
    assert client.get(f"/api/profile-photos/{letters}").status == 404
