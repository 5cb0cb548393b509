"""/files and /profile-photos: pictures themselves, the only answers without an envelope."""

from __future__ import annotations

import flask

from domain.errors import LinkRefused
from domain.formats import PictureFormat
from domain.stores.local import LocalFiles
from handlers.pages import initials_picture
from handlers.request import services


def get_file(key: str) -> flask.Response:
    store = services().store
    # With a store that serves its own URLs nobody ever gets a link to here.
    if not isinstance(store, LocalFiles) or flask.request.query_string:
        raise LinkRefused
    # The contract does not know If-Match; werkzeug would answer 412 with the whole file behind it.
    flask.request.environ.pop("HTTP_IF_MATCH", None)
    signed = store.read_url(key, services().clock.now())
    picture_format = next(picture for picture in PictureFormat if picture.extension == signed.path.suffix)
    response = flask.send_file(
        signed.path,
        mimetype=picture_format.media_type,
        as_attachment=True,
        download_name=signed.filename,
        conditional=True,
    )
    response.headers["Cache-Control"] = "private, no-store"
    del response.headers["Date"]  # werkzeug's; the server gives every answer one
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def get_profile_photo(initials: str) -> flask.Response:
    return initials_picture(initials)
