"""Do times say when something was, so that a program can tell?"""

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

_AS_UPREZ_WRITES_THEM = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
# Clocks of one server's machines may differ; a wrong zone makes half an hour at least.
_CLOCKS_DIFFER = timedelta(minutes=5)


def _ask_for_times(kit: Kit) -> None:
    image_id = kit.images.completed_png().image["id"]
    for path in (f"/images/{image_id}", "/images", "/user", "/user/tokens", "/subscription"):
        kit.owner.get(path).expect(200)


def _times_seen(kit: Kit) -> Iterator[tuple[str, Any]]:
    """In the successes of documented operations so far: where it stood, and what."""
    for asked, exchange in contract_exchanges(kit.transport):
        if exchange.status is not None and exchange.status < HTTPStatus.MULTIPLE_CHOICES:
            try:
                body = json.loads(exchange.body)
            except ValueError:
                continue
            for where, text in timestamps_in(body):
                yield f"`{where}` of {asked}", text


@check("TIME-001")
def times_are_rfc_3339_with_a_zone(kit: Kit) -> None:
    _ask_for_times(kit)
    for where, text in _times_seen(kit):
        parse_timestamp(text, where)


@check("TIME-002")
def times_have_six_decimals_and_z(kit: Kit) -> None:
    _ask_for_times(kit)
    for where, text in _times_seen(kit):
        expect(
            isinstance(text, str) and _AS_UPREZ_WRITES_THEM.fullmatch(text),
            f"{where} is {text!r}: not in UTC with six decimals and Z.",
            expected="for example 2026-02-15T12:00:00.000000Z",
            actual=text,
        )


@check("TIME-003")
def nothing_is_updated_before_it_is_created(kit: Kit) -> None:
    done = kit.images.completed_png()
    listed = kit.owner.get("/images").expect(200).data
    for said in (done.accepted, done.image, *listed, kit.owner.get("/user").expect(200).data):
        created = parse_timestamp(said["created_at"], "`created_at`")
        updated = parse_timestamp(said["updated_at"], "`updated_at`")
        expect(
            updated >= created,
            f"`updated_at` is {created - updated} before `created_at`.",
            expected=f"{said['created_at']} or later",
            actual=said["updated_at"],
        )


@check("TIME-004")
def work_takes_no_longer_than_the_image_is_there(kit: Kit) -> None:
    image = kit.images.completed_png().image
    worked = image.get("processing_time")
    if worked is None:
        raise CheckFailed("A completed image has no `processing_time`.", expected="seconds", actual=worked)
    there = parse_timestamp(image["updated_at"], "`updated_at`") - parse_timestamp(
        image["created_at"], "`created_at`"
    )
    seconds = there.total_seconds()
    # The seconds may have been rounded to two decimals, and the times cut to their last digit.
    precision = 0.01 + max(_last_digit(image["created_at"]), _last_digit(image["updated_at"]))
    expect(
        isinstance(worked, int | float) and 0 <= worked <= seconds + precision,
        f"`processing_time` is {worked!r}, and {seconds} s lie between `created_at` and `updated_at`.",
        expected=f"from 0 to {seconds}",
        actual=worked,
    )


@check("TIME-005")
def times_are_those_of_the_servers_own_clock(kit: Kit) -> None:
    before = _date(kit.owner.get("/user").expect(200))
    response = kit.images.try_upload(make_sample("png"), {"scale_factor": 2}).permitted().expect(202)
    after = _date(response)
    created = parse_timestamp(response.data["created_at"], "`created_at`")
    expect(
        before - _CLOCKS_DIFFER <= created <= after + _CLOCKS_DIFFER,
        f"By the server's `Date` headers an image was uploaded between {before:%H:%M:%S} and {after:%H:%M:%S} UTC; "
        f"its `created_at` is {response.data['created_at']}.",
        expected=f"about {after.isoformat()}",
        actual=response.data["created_at"],
    )


@check("TIME-006")
def a_batch_tells_when_it_came_to_its_end(kit: Kit) -> None:
    sent = kit.batches.create([make_sample("png")], {"scale_factor": 2})
    expect(
        sent.get("completed_at") is None or sent["status"] in BATCH_TERMINAL,
        f"A batch that is {sent['status']!r} has a `completed_at`.",
        expected=None,
        actual=sent.get("completed_at"),
    )
    batch, _ = kit.batches.wait(sent["id"])
    for name, value in timestamps_in(batch):
        parse_timestamp(value, f"`{name}` of a batch")
    if batch.get("completed_at") is None:
        raise CheckFailed(
            "A batch that came to its end has no `completed_at`.", expected="a time", actual=None
        )
    created, completed = (
        parse_timestamp(batch[name], f"`{name}`") for name in ("created_at", "completed_at")
    )
    updated = parse_timestamp(batch["updated_at"], "`updated_at`")
    # `completed_at` may be of the clock of another machine.
    expect(
        created <= completed + _CLOCKS_DIFFER and created <= updated,
        "A batch came to its end, or was updated, before it was created.",
        expected=f"{batch['created_at']} or later",
        actual=min(batch["completed_at"], batch["updated_at"]),
    )


def _last_digit(text: str) -> float:
    """What the last digit of a time stands for, in seconds. Zeros may fill up what is not known any nearer."""
    decimals = re.search(r"\.(\d*[1-9])", text)
    return 10.0 ** -len(decimals[1]) if decimals else 1.0


def _date(response: Response) -> datetime:
    try:
        return parsedate_to_datetime(response.headers["date"]).replace(tzinfo=UTC)  # it is always GMT
    except (KeyError, ValueError):
        raise Inconclusive(
            f"The answer to {response.request_line} has no `Date` header to compare times with. Let the server, or what "
            "stands in front of it, send one."
        ) from None
