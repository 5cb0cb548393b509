"""Checks that responses expose no internals of the server, and that hostile requests cause no server error."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.verdicts import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "multipart/form-data; boundary=uprez-kit-boundary"}
# The form of a crash report in common programming languages.
_TRACES = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|^\s+at \S+ ?\(.*:\d+|goroutine \d+ \["
    r"|#\d+ /\S+\(\d+\)|Stack trace|panicked at|SQLSTATE|\.(?:java|cs|rb|py|php|js|ts|go|rs):\d+",
    re.MULTILINE,
)
_SERVER_PATHS = re.compile(
    r"(?:/(?:usr|home|var|opt|srv|root|tmp)/[\w.-]+|\b[A-Z]:\\+\w+|site-packages|node_modules"
    r"|/[\w./-]+\.(?:py|php|rb|js|ts|go|rs|java|cs)\b)"
)
# The start of an absolute path. A leading slash alone may also be part of a URL.
_ABSOLUTE_PATH = re.compile(
    r"[A-Za-z]:[/\\]|\\\\|file:|/(?:usr|home|var|opt|srv|root|tmp|mnt|etc|app|Users)/"
)
_LINKS = re.compile(r"https?://[^\s\"]+")
_VERSION = re.compile(r"/\d+\.\d+")
_VERSION_HEADERS = {"server", "x-powered-by", "x-aspnet-version"}


@check("ENV-026")
def check_errors_expose_no_internals(kit: Kit) -> None:
    """Check that no error response of the run so far, hostile requests included, has a stack trace or a file
    path.

    The requested path and links in the text are ignored.
    """
    _hostile_responses(kit)
    for exchange in kit.transport.exchanges:
        if exchange.status is None or exchange.status < HTTPStatus.BAD_REQUEST:
            continue
        path = urlsplit(exchange.url).path
        # An error may repeat the requested path and contain links.
        text = exchange.body.decode("utf-8", "replace").replace("\\/", "/").replace(path, "")
        text = _LINKS.sub("", text)
        found = _TRACES.search(text) or _SERVER_PATHS.search(text)
        expect(
            not found,
            f"The {exchange.status} response to {exchange.method} {path} exposes internals of the server.",
            expected="no stack trace and no file path",
            actual=found and found.group(),
        )


@check("ENV-027")
def check_no_server_version(kit: Kit) -> None:
    """Check that no ``Server`` or ``X-Powered-By`` header of the whole run so far has a version."""
    kit.owner.get("/user")
    kit.owner.get("no-such-route")
    for exchange in kit.transport.exchanges:
        for name, value in exchange.headers.items():
            expect(
                name.lower() not in _VERSION_HEADERS or not _VERSION.search(value),
                f"The header {name} exposes the version of the server.",
                expected="no version",
                actual=value,
            )


@check("ENV-029")
def check_hostile_requests_cause_no_500(kit: Kit) -> None:
    """Check that the hostile requests, which are sent once in a run, all return a status below 500."""
    for response in _hostile_responses(kit):
        expect(
            response.status < HTTPStatus.INTERNAL_SERVER_ERROR,
            f"{response.request_line} causes a server error.",
            expected="a status below 500",
            actual=response.status,
        )


@check("ENV-032")
def check_no_server_path(kit: Kit) -> None:
    """Check that neither ``original_path`` nor ``upscaled_path`` of a completed image is an absolute path.

    A leading slash alone passes, because it may be a part of a URL.
    """
    image = kit.images.get(kit.images.completed_png().image["id"])
    for field in ("original_path", "upscaled_path"):
        expect(
            not _ABSOLUTE_PATH.match(str(image[field])),
            f"`{field}` of an image is a path of the server.",
            expected="a name in the store, such as originals/k3v9x2.png",
            actual=image[field],
        )


@check("ENV-033")
def check_random_stored_name(kit: Kit) -> None:
    """Check that the stored name contains neither the uploaded file name nor only the id."""
    image_id = kit.images.completed_png().image["id"]
    stored = str(kit.images.get(image_id)["original_path"])
    stem = stored.replace("\\", "/").rpartition("/")[2].partition(".")[0]
    expect(
        kit.tag not in stored and stem != str(image_id),
        "`original_path` of an image contains the uploaded file name, or is the id of the image.",
        expected="a random name",
        actual=stored,
    )


def _hostile_responses(kit: Kit) -> list[Response]:
    """Return the responses to requests that often crash servers; send them only once in a run."""
    return kit.once("hostile requests", lambda: list(_send_hostile_requests(kit)))


def _send_hostile_requests(kit: Kit) -> Iterator[Response]:
    """Send malformed queries, paths, forms and JSON, and yield the responses, which may have any status."""
    sample = make_sample("png")
    for query in ({"page": "9" * 40}, {"per_page": "1e400"}, {"status": "'\0\"--"}, {"page[]": "1"}):
        yield kit.owner.get("/images", params=query)
    yield kit.owner.get("/images/1%27%22%3b--")
    yield kit.owner.get("/images/1" + "0" * 40)
    yield kit.owner.get("no-such-route")
    yield kit.owner.post("/images/upscale", data=b"--" * 99, headers=_FORM)
    yield kit.images.try_form([("image", ("kit.png", sample.content[:60], sample.media_type))])
    yield kit.images.try_form([("image", (None, "no file")), ("scale_factor", (None, "9" * 400))])
    for body in (b"[" * 1000, b'{"email": [1], "password": {"a": null}}', b"1e400"):
        yield kit.owner.post("/auth/login", data=body, headers=_JSON)
