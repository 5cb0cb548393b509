"""/files and /profile-photos: pictures themselves, answers without an envelope as the page in ``pages`` is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import flask

from domain.errors import InvalidLink, NotFound, Unavailable
from domain.formats import ImageFormat
from handlers.pages import initials_picture
from handlers.request import services

if TYPE_CHECKING:
    from domain.ports import SignedFile

_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)", re.ASCII)


def get_file(key: str) -> flask.Response:
    if flask.request.query_string:
        raise InvalidLink
    # The contract does not know If-Match; werkzeug would answer 412 with the whole file behind it.
    flask.request.environ.pop("HTTP_IF_MATCH", None)
    if not _RANGE.fullmatch(flask.request.headers.get("Range", "")):
        flask.request.environ.pop(
            "HTTP_RANGE", None
        )  # unknown units and several ranges may be ignored (RFC 9110, 14.2)
    try:
        response = _attachment(services().store.open_signed(key, services().clock.now()))
    except FileNotFoundError:
        raise NotFound from None  # deleted since it was looked for
    except OSError as reason:
        raise Unavailable(f"The object store failed: {reason}") from reason
    response.headers["Cache-Control"] = "private, no-store"
    del response.headers["Date"]  # werkzeug's; the server gives every answer one
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _attachment(signed: SignedFile) -> flask.Response:
    image_format = next(picture for picture in ImageFormat if picture.extension == signed.path.suffix)
    return flask.send_file(
        signed.path,
        mimetype=image_format.media_type,
        as_attachment=True,
        download_name=signed.filename,
        conditional=True,
    )


def get_profile_photo(initials: str) -> flask.Response:
    return initials_picture(initials)
