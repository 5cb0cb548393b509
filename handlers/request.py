"""What a handler asks of the request it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import flask
from connexion.context import context

from domain.model_choices import AUTO
from domain.uploads import Upload, UpscaleOptions
from handlers.transport.security import current_principal
from handlers.transport.validation import SUBMITTED

if TYPE_CHECKING:
    from domain.records import Principal
    from domain.services import Services
    from handlers.transport.validation import Submitted

SERVICES = "uprez"


def services() -> Services:
    return cast("Services", flask.current_app.extensions[SERVICES])


def origin() -> str:
    """Scheme and host that links in this answer begin with: the operator's word, or what the client used."""
    policy, request = services().policy, flask.request
    if policy.public_url is not None:
        return policy.public_url
    # Empty without a Host header, or with one that is none.
    return f"{request.scheme}://{request.host}" if request.host else policy.origin


def principal() -> Principal:
    return current_principal()


def client_address() -> str:
    """The address at the other end of the connection, or whom a trusted proxy there speaks for."""
    return flask.request.remote_addr or "unknown"


def submitted() -> Submitted:
    """The body: fields that keep the contract's schema, files, and the problems of the rest."""
    return cast("Submitted", context[SUBMITTED])


def uploads(field: str) -> list[Upload]:
    """The files of this field, unless something is wrong with the field as a whole."""
    return [
        Upload(file.filename or "", file.file, file.size or 0) for file in submitted().files.get(field, [])
    ]


def upscale_options() -> UpscaleOptions:
    """What is wished for the result, in fields that keep the contract's schema."""
    fields = submitted().fields
    model = fields.get("model", AUTO)
    return UpscaleOptions(
        fields.get("scale_factor"),
        fields.get("target_width"),
        fields.get("target_height"),
        None if model == AUTO else model,
    )
