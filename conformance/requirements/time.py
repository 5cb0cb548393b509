"""Checks of timestamps."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.envelope import contract_exchanges
from conformance.images.samples import make_sample
from conformance.kit.batches import BATCH_TERMINAL
from conformance.timestamps import parse_timestamp, timestamps_in
from conformance.verdicts import CheckFailed, Inconclusive, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Response
    from conformance.kit import Kit

_UPREZ_FORM = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
# The clocks of one server's machines may differ; a wrong time zone shifts a time by at least 30 minutes.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@check("TIME-001")
def check_rfc_3339(kit: Kit) -> None:
    """Check that all timestamps of the whole run so far are RFC 3339 with a time zone."""
    for where, text in _timestamps(kit):
        parse_timestamp(text, where)


@check("TIME-002")
def check_uprez_form(kit: Kit) -> None:
    """Check that all timestamps of the whole run so far are UTC with six decimals and Z."""
    for where, text in _timestamps(kit):
        expect(
            isinstance(text, str) and _UPREZ_FORM.fullmatch(text),
            f"{where} is {text!r}, which is not UTC with six decimals and Z.",
            expected="for example 2026-02-15T12:00:00.000000Z",
            actual=text,
        )


@check("TIME-003")
def check_updated_after_created(kit: Kit) -> None:
    """Check that ``updated_at`` of a completed image, of the listed images and of the account is not before
    ``created_at``.
    """
    done = kit.images.completed_png()
    listed = kit.owner.get("/images").expect(200).data
    for data in (done.accepted, done.image, *listed, kit.owner.get("/user").expect(200).data):
        created, updated = _parse(data, "created_at"), _parse(data, "updated_at")
        expect(
            updated >= created,
            f"`updated_at` is {created - updated} before `created_at`.",
            expected=f"not before {data['created_at']}",
            actual=data["updated_at"],
        )


@check("TIME-004")
def check_processing_time(kit: Kit) -> None:
    """Check that the processing time is not longer than the image exists."""
    image = kit.images.completed_png().image
    processing = image.get("processing_time")
    if processing is None:
        raise CheckFailed("A completed image has no `processing_time`.", expected="seconds", actual=None)
    exists = (_parse(image, "updated_at") - _parse(image, "created_at")).total_seconds()
    # The server may round the processing time to two decimals and truncate the timestamps.
    precision = 0.01 + max(_precision_seconds(image["created_at"]), _precision_seconds(image["updated_at"]))
    expect(
        isinstance(processing, int | float) and 0 <= processing <= exists + precision,
        f"`processing_time` is {processing!r}, but `updated_at` is {exists} s after `created_at`.",
        expected=f"from 0 to {exists}",
        actual=processing,
    )


@check("TIME-005")
def check_server_clock(kit: Kit) -> None:
    """Check that ``created_at`` of an upload is between the Date headers before and after it, with a tolerance of 5 minutes.

    Raise Inconclusive without a valid Date header, or if the upload returns 403.
    """
    before = _date(kit.owner.get("/user").expect(200))
    upload = kit.images.try_upload(make_sample("png"), {"scale_factor": 2}).permitted().expect(202)
    after = _date(upload)
    created = _parse(upload.data, "created_at")
    expect(
        before - _CLOCK_TOLERANCE <= created <= after + _CLOCK_TOLERANCE,
        f"The `Date` headers show that an image was uploaded between {before:%H:%M:%S} and {after:%H:%M:%S} UTC, but "
        f"its `created_at` is {upload.data['created_at']}.",
        expected=f"about {after.isoformat()}",
        actual=upload.data["created_at"],
    )


@check("TIME-006")
def check_completed_at(kit: Kit) -> None:
    """Check that `completed_at` of a batch is set exactly when the batch is finished."""
    accepted = kit.batches.create([make_sample("png")], {"scale_factor": 2})
    expect(
        accepted.get("completed_at") is None or accepted["status"] in BATCH_TERMINAL,
        f"A batch that is {accepted['status']!r} has a `completed_at`.",
        expected=None,
        actual=accepted.get("completed_at"),
    )
    batch, _ = kit.batches.wait(accepted["id"])
    for name, value in timestamps_in(batch):
        parse_timestamp(value, f"`{name}` of a batch")
    if batch.get("completed_at") is None:
        raise CheckFailed("A finished batch has no `completed_at`.", expected="a time", actual=None)
    created = _parse(batch, "created_at")
    # The clock of another machine may have set `completed_at`.
    expect(
        created <= _parse(batch, "completed_at") + _CLOCK_TOLERANCE
        and created <= _parse(batch, "updated_at"),
        "A batch was finished or updated before it was created.",
        expected=f"not before {batch['created_at']}",
        actual=min(batch["completed_at"], batch["updated_at"]),
    )


def _timestamps(kit: Kit) -> Iterator[tuple[str, Any]]:
    """Yield place and value of each timestamp in the successful responses of the run, after requesting some."""
    image_id = kit.images.completed_png().image["id"]
    for path in (f"/images/{image_id}", "/images", "/user", "/user/tokens", "/subscription"):
        kit.owner.get(path).expect(200)
    for request_line, exchange in contract_exchanges(kit.transport):
        if exchange.status is not None and exchange.status < HTTPStatus.MULTIPLE_CHOICES:
            try:
                body = json.loads(exchange.body)
            except ValueError:
                continue
            for where, text in timestamps_in(body):
                yield f"`{where}` of {request_line}", text


def _parse(data: dict[str, Any], field: str) -> datetime:
    """Return the time of the field. Fail if it is not an RFC 3339 time with a zone."""
    return parse_timestamp(data[field], f"`{field}`")


def _precision_seconds(text: str) -> float:
    """Return the value of the last digit that is not 0, because zeros may fill up a less precise time."""
    decimals = re.search(r"\.(\d*[1-9])", text)
    return 10.0 ** -len(decimals[1]) if decimals else 1.0


def _date(response: Response) -> datetime:
    """Return the Date header in UTC. Raise Inconclusive if it is missing or invalid."""
    try:
        return parsedate_to_datetime(response.headers["date"]).replace(tzinfo=UTC)  # it is always GMT
    except (KeyError, ValueError):
        raise Inconclusive(
            f"The response to {response.request_line} has no `Date` header to compare timestamps with. Make the "
            "server, or the proxy in front of it, send one."
        ) from None
