"""Accessors for the current request, for operation functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import flask
from connexion.context import context

from domain.model_choices import AUTO
from domain.uploads import Upload, UpscaleOptions
from handlers.transport import rate_limit
from handlers.transport.parsed_body import PARSED_BODY
from handlers.transport.security import current_principal

if TYPE_CHECKING:
    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.parsed_body import ParsedBody

SERVICES = "uprez"
"""Key in the Flask application's extensions."""


def services() -> Services:
    """Return the services of this application."""
    return cast("Services", flask.current_app.extensions[SERVICES])


def origin() -> str:
    """Return scheme and host of links in the response: the configured ones, or those that the client used."""
    policy, request = services().policy, flask.request
    if policy.public_url is not None:
        return policy.public_url
    # Empty without a valid Host header.
    return f"{request.scheme}://{request.host}" if request.host else policy.origin


def principal() -> Principal:
    """Return the authenticated principal. Only for operations that need authentication."""
    return current_principal()


def client_address() -> str:
    """Return the address of the client, which the rate limit uses as well."""
    return rate_limit.client_address(flask.request.environ["asgi.scope"])


def parsed_body() -> ParsedBody:
    """Return the body: valid fields and files, and the problems of the others."""
    return cast("ParsedBody", context[PARSED_BODY])


def uploads(field: str) -> list[Upload]:
    """Return the files of this form field; none if the field has a problem."""
    return [
        Upload(file.filename or "", file.file, file.size or 0) for file in parsed_body().files.get(field, [])
    ]


def upscale_options() -> UpscaleOptions:
    """Return the upscale options from the valid fields; never raise for a problem of the body.

    An option is None if its field is missing or invalid, and the model also if it is ``auto``.
    """
    fields = parsed_body().fields
    model = fields.get("model", AUTO)
    return UpscaleOptions(
        fields.get("scale_factor"),
        fields.get("target_width"),
        fields.get("target_height"),
        None if model == AUTO else model,
    )
