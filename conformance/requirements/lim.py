"""Checks of the monthly quota and of limits on the number of requests."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import UNUSED_ID
from conformance.catalogue import check
from conformance.concurrent_uploads import upload_concurrently
from conformance.shared_batches import MAX_IMAGES, named_batches, tiny_sample
from conformance.verdicts import (
    CheckFailed,
    Inconclusive,
    Skipped,
    expect,
    expect_at_least,
    expect_empty,
    expect_equal,
    retry,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.client import Client, Response
    from conformance.kit import Kit

_ROUNDING = 0.05  # of a percentage with one decimal
_CONCURRENT = 6  # uploads: enough for a race, few enough for an hourly limit and a small queue


@check("LIM-001")
def check_remaining(kit: Kit) -> None:
    """Check that `remaining` is `limit` minus `used`, and not below 0."""
    usage = _usage(kit.owner)
    if not usage["unlimited"]:
        used, limit = _number(usage, "used"), _number(usage, "limit")
        expect_equal(
            _number(usage, "remaining"), max(0, limit - used), f"`remaining` with {used} used of {limit}"
        )


@check("LIM-002")
def check_percentage(kit: Kit) -> None:
    """Check that `percentage` is the used part of the limit with one decimal."""
    usage = _usage(kit.owner)
    percentage = usage["percentage"]
    if isinstance(percentage, bool) or not isinstance(percentage, int | float):
        raise CheckFailed("`percentage` is not a number.", actual=percentage)
    if usage["unlimited"] or not usage["limit"]:
        return
    exact = 100 * _number(usage, "used") / _number(usage, "limit")
    expect(
        abs(percentage - exact) <= _ROUNDING + 1e-9 and math.isclose(percentage, round(percentage, 1)),
        "`percentage` is not the used part of the limit with one decimal.",
        expected=round(exact, 1),
        actual=percentage,
    )


@check("LIM-003")
def check_exceeded(kit: Kit) -> None:
    """Check that `unlimited` and `exceeded` are booleans, and that `exceeded` means that nothing remains.

    `exceeded` is not compared for an unlimited account.
    """
    usage = _usage(kit.owner)
    for name in ("unlimited", "exceeded"):
        expect(isinstance(usage[name], bool), f"`{name}` is not a boolean.", actual=usage[name])
    if not usage["unlimited"]:
        remaining = usage["remaining"]
        expect_equal(usage["exceeded"], remaining == 0, f"`exceeded` with {remaining} remaining")


@check("LIM-004")
def check_cost_of_upload(kit: Kit) -> None:
    """Check that an upload uses one image of the quota."""
    _expect_cost(kit, 1, "an upload", lambda: kit.images.upload(tiny_sample()))


@check("LIM-005")
def check_cost_of_rejected_upload(kit: Kit) -> None:
    """Check that rejected uploads use no quota."""

    def send_invalid() -> None:
        """Send an invalid option and a file that is no image; both must return 422."""
        kit.images.try_upload(tiny_sample(), {"scale_factor": 9}).expect(422, why="with scale_factor 9")
        file = ("kit.png", b"no image", "image/png")
        response = kit.owner.post("/images/upscale", files={"image": file})
        response.expect(422, why="with a file that is not an image")

    _expect_cost(kit, 0, "two rejected uploads", send_invalid)


@check("LIM-006")
def check_image_quota_headers(kit: Kit) -> None:
    """Check that responses of image operations have the quota headers."""
    _expect_quota_headers(
        kit,
        {
            200: lambda: kit.owner.get("/images", params={"per_page": 1}),
            202: lambda: kit.images.try_upload(tiny_sample()).permitted(),
            404: lambda: kit.owner.get(f"/images/{UNUSED_ID}"),
            422: lambda: kit.images.try_upload(tiny_sample(), {"scale_factor": 9}),
        },
    )


@check("LIM-007")
def check_cost_of_batch(kit: Kit) -> None:
    """Check that a batch of two images uses two images of the quota."""
    named_batches(kit)  # inconclusive if the plan has no batches
    samples = [tiny_sample(), tiny_sample()]
    _expect_cost(kit, 2, "a batch of two", lambda: kit.batches.create(samples))


@check("LIM-008")
def check_batch_quota_headers(kit: Kit) -> None:
    """Check that responses of batch operations have the quota headers."""
    named_batches(kit)
    _expect_quota_headers(
        kit,
        {
            200: lambda: kit.owner.get("/batches", params={"per_page": 1}),
            202: lambda: kit.batches.try_create([tiny_sample()]).permitted(),
            404: lambda: kit.owner.get(f"/batches/{UNUSED_ID}"),
            422: lambda: kit.batches.try_create([tiny_sample()], {"scale_factor": 9}),
        },
    )


@check("LIM-009")
def check_retry_after(kit: Kit) -> None:
    """Check that each 429 of the run has Retry-After in seconds. Raise Skipped if there was none.

    The check does not provoke a 429, because that would use up the hourly limit of the account's owner.
    """
    kit.owner.request("GET", "/usage", wait_on_429=False).expect(200, 429)
    too_many = [one for one in kit.transport.exchanges if one.status == HTTPStatus.TOO_MANY_REQUESTS]
    for exchange in too_many:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        expect(
            headers.get("retry-after", "").strip().isdecimal(),
            "A 429 has no Retry-After in seconds.",
            expected="Retry-After: seconds",
            actual=headers.get("retry-after"),
        )
    if not too_many:
        raise Skipped("No request of this run returned 429.")


@check("LIM-010")
def check_upload_over_quota(kit: Kit) -> None:
    """Check that an account without remaining quota cannot upload. Raise Skipped without such an account."""

    def send_over_quota() -> bool:
        """Upload with each account that has no quota left.

        A valid image must return 403, an invalid option 422. ``used`` must stay the same. Return False if
        there is no such account.
        """
        clients = _clients_with_at_most(kit, 0, "/images")
        for client in clients:
            used = _usage(client)["used"]
            kit.images.try_upload(tiny_sample(), client=client).expect(403, why="without remaining quota")
            invalid = kit.images.try_upload(tiny_sample(), {"scale_factor": 9}, client=client)
            invalid.expect(422, why="with scale_factor 9 and without remaining quota")
            expect_equal(_usage(client)["used"], used, "`used` after an upload over the quota")
        return bool(clients)

    if not retry(send_over_quota):
        raise Skipped("Needs a token of an account with no remaining monthly quota: --token-b or --token.")


@check("LIM-011")
def check_batch_over_quota(kit: Kit) -> None:
    """Check that a batch over the quota is rejected completely.

    Raise Inconclusive if the account of ``--token`` has no access to batches, and Skipped without an account that has
    fewer than 20 images left in its quota.
    """
    kit.owner.get("/batches", params={"per_page": 1}).permitted()

    def send_over_quota() -> bool:
        """Send a batch of one image more than the quota has left, with each account that has too little for a
        full batch. It must return 403, use no quota and not be in the list. Return False if there is no
        such account.
        """
        clients = _clients_with_at_most(kit, MAX_IMAGES - 1, "/batches")
        for client in clients:
            name = f"{kit.tag}-over-{kit.random.getrandbits(32):08x}"
            before = _usage(client)
            remaining = _number(before, "remaining")
            response = kit.batches.try_create(
                [tiny_sample()] * (remaining + 1), {"name": name}, client=client
            )
            response.expect(403, why=f"with {remaining + 1} images and {remaining} remaining in the quota")
            expect_equal(_usage(client)["used"], before["used"], "`used` after a batch over the quota")
            newest = client.get("/batches", params={"per_page": 100}).expect(200).data
            stored = [batch["id"] for batch in newest if batch.get("name") == name]
            expect_empty(stored, "A batch over the quota is in the list.", expected=[])
        return bool(clients)

    if not retry(send_over_quota):
        raise Skipped(
            f"Needs a token of an account with batches and less than {MAX_IMAGES} images remaining in its monthly "
            "quota: --token-b or --token."
        )


@check("LIM-012")
def check_concurrent_uploads(kit: Kit) -> None:
    """Check that concurrent uploads get different ids and use at least one image of the quota each."""
    usage = _usage(kit.owner)
    if not usage["unlimited"] and _number(usage, "remaining") < _CONCURRENT:
        raise Inconclusive(f"Needs an account with {_CONCURRENT} images remaining in its monthly quota.")

    def upload() -> None:
        """Upload images concurrently; fail unless all have different ids and each uses quota."""
        before = _number(_usage(kit.owner), "used")
        responses = [
            response.permitted() for response in upload_concurrently(kit, [tiny_sample()] * _CONCURRENT)
        ]
        ids = [response.expect(202, why="sent concurrently").data["id"] for response in responses]
        expect(
            len(set(ids)) == _CONCURRENT,
            "Two images that were uploaded concurrently have the same id.",
            expected="different ids",
            actual=sorted(ids),
        )
        # Another client may have used more; LIM-004 checks the exact cost of an upload.
        cost = _number(_usage(kit.owner), "used") - before
        expect_at_least(cost, _CONCURRENT, f"The cost of {_CONCURRENT} concurrent uploads")

    retry(upload)


def _clients_with_at_most(kit: Kit, remaining: int, path: str) -> list[Client]:
    """Return the clients of a run with so little remaining quota that can read the list at the path."""
    clients = [kit.owner] if kit.options.token_b is None else [kit.owner, kit.callers.other]
    return [
        client
        for client in clients
        if not (usage := _usage(client))["unlimited"]
        and _number(usage, "remaining") <= remaining
        and client.get(path, params={"per_page": 1}).status != HTTPStatus.FORBIDDEN
    ]


def _usage(client: Client) -> dict[str, Any]:
    """Return `image_uploads` of GET /usage. Raise CheckFailed if it is not an object."""
    uploads = client.get("/usage").expect(200).data["image_uploads"]
    if not isinstance(uploads, dict):
        raise CheckFailed("`image_uploads` is not an object.", actual=uploads)
    return uploads


def _number(usage: dict[str, Any], name: str) -> int:
    """Return the value of this name. Raise CheckFailed if it is not an integer from 0."""
    value = usage[name]
    if type(value) is not int or value < 0:
        raise CheckFailed(f"`{name}` is not a whole number from 0.", actual=value)
    return value


def _expect_cost(kit: Kit, cost: int, what: str, send: Callable[[], object]) -> None:
    """Raise CheckFailed unless the requests of ``send`` use ``cost`` images of the quota."""

    def compare_used() -> None:
        """Send the request between two reads of the usage; fail unless the difference is the cost."""
        before = _number(_usage(kit.owner), "used")
        send()
        expect_equal(_number(_usage(kit.owner), "used") - before, cost, f"The cost of {what}, in images,")

    retry(compare_used)


def _expect_quota_headers(kit: Kit, requests: dict[int, Callable[[], Response]]) -> None:
    """Raise CheckFailed unless each response has its status and the quota headers match the usage."""
    for status, send in requests.items():

        def compare_headers(status: int = status, send: Callable[[], Response] = send) -> None:
            """Send the request.

            Fail unless both headers have the values of GET /usage; without a limit they must be absent.
            """
            response = send().expect(status)
            usage = _usage(kit.owner)
            for header, name in (("X-RateLimit-Limit", "limit"), ("X-RateLimit-Remaining", "remaining")):
                expected = None if usage["unlimited"] else str(usage[name])
                what = f"{header} in the {status} response to {response.request_line}"
                expect_equal(response.headers.get(header), expected, what)

        retry(compare_headers)
