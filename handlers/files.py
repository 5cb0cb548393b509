"""Operations of /files and /profile-photos: image files, without an envelope."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import flask

from domain.errors import InvalidLink, NotFound, Unavailable
from domain.formats import ImageFormat
from handlers.pages import initials_image
from handlers.request import services

if TYPE_CHECKING:
    from domain.ports import SignedFile

_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)", re.ASCII)


def get_file(key: str) -> flask.Response:
    """Respond with the file of a signed link: 200, 206 for one range, 304 or 416; caches must not store it.

    ``If-Match``, several ranges and unknown units are ignored. Raise InvalidLink for a changed or expired
    link and for any query parameter, NotFound if the file is deleted, and Unavailable if the store fails.
    """
    if flask.request.query_string:
        raise InvalidLink
    # The contract has no If-Match; werkzeug would respond with 412 and the whole file.
    flask.request.environ.pop("HTTP_IF_MATCH", None)
    if not _RANGE.fullmatch(flask.request.headers.get("Range", "")):
        # Unknown units and several ranges may be ignored (RFC 9110, 14.2).
        flask.request.environ.pop("HTTP_RANGE", None)
    try:
        response = _attachment(services().store.open_signed(key, services().clock.now()))
    except FileNotFoundError:
        raise NotFound from None  # deleted after its link was checked
    except OSError as reason:
        raise Unavailable(f"The object store failed: {reason}") from reason
    response.headers["Cache-Control"] = "private, no-store"
    del response.headers["Date"]  # werkzeug's; the server adds one to every response
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _attachment(signed: SignedFile) -> flask.Response:
    """Return a response with the file as a download.

    The media type follows from the extension. Conditional requests and ranges are handled.
    """
    image_format = next(known for known in ImageFormat if known.extension == signed.path.suffix)
    return flask.send_file(
        signed.path,
        mimetype=image_format.media_type,
        as_attachment=True,
        download_name=signed.filename,
        conditional=True,
    )


def get_profile_photo(initials: str) -> flask.Response:
    """Respond with an SVG image of the initials."""
    return initials_image(initials)
