"""Is the monthly quota counted as it is told: by an upload, by a refusal, in the body and in the headers?"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import UNUSED_ID
from conformance.catalogue import check
from conformance.concurrent_uploads import upload_concurrently
from conformance.shared_batches import MAX_IMAGES, named_batches, tiny_sample
from conformance.verdicts import CheckFailed, Inconclusive, Skipped, expect, expect_equal, retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.client import Client, Response
    from conformance.kit import Kit

_HALF_A_TENTH = 0.05
_AT_ONCE = 6  # uploads: enough for two to meet, few enough for an hourly limit and a small queue


@check("LIM-001")
def what_is_used_and_what_is_left_are_the_limit(kit: Kit) -> None:
    uploads = _uploads(kit)
    if not uploads["unlimited"]:
        used, limit = _number(uploads, "used"), _number(uploads, "limit")
        expect_equal(
            _number(uploads, "remaining"), max(0, limit - used), f"`remaining` with {used} used of {limit}"
        )


@check("LIM-002")
def the_percentage_is_that_of_the_limit(kit: Kit) -> None:
    uploads = _uploads(kit)
    percentage = uploads["percentage"]
    if isinstance(percentage, bool) or not isinstance(percentage, int | float):
        raise CheckFailed("`percentage` is no number.", actual=percentage)
    if uploads["unlimited"] or not uploads["limit"]:
        return
    exact = 100 * _number(uploads, "used") / _number(uploads, "limit")
    expect(
        abs(percentage - exact) <= _HALF_A_TENTH + 1e-9 and math.isclose(percentage, round(percentage, 1)),
        "`percentage` is not what is used of the limit, with one decimal.",
        expected=round(exact, 1),
        actual=percentage,
    )


@check("LIM-003")
def exceeded_says_whether_nothing_is_left(kit: Kit) -> None:
    uploads = _uploads(kit)
    for name in ("unlimited", "exceeded"):
        expect(isinstance(uploads[name], bool), f"`{name}` is neither true nor false.", actual=uploads[name])
    if not uploads["unlimited"]:
        expect_equal(
            uploads["exceeded"], uploads["remaining"] == 0, f"`exceeded` with {uploads['remaining']} left"
        )


@check("LIM-004")
def an_upload_costs_one(kit: Kit) -> None:
    _costs(kit, 1, "an upload", lambda: kit.images.upload(tiny_sample()))


@check("LIM-005")
def a_refused_upload_costs_nothing(kit: Kit) -> None:
    def refused() -> None:
        kit.images.try_upload(tiny_sample(), {"scale_factor": 9}).expect(422, why="with scale_factor 9")
        kit.owner.post("/images/upscale", files={"image": ("kit.png", b"no picture", "image/png")}).expect(
            422, why="with what is no picture"
        )

    _costs(kit, 0, "two refused uploads", refused)


@check("LIM-006")
def the_headers_of_image_answers_tell_the_quota(kit: Kit) -> None:
    _tell_the_quota(
        kit,
        {
            200: lambda: kit.owner.get("/images", params={"per_page": 1}),
            202: lambda: kit.images.try_upload(tiny_sample()).permitted(),
            404: lambda: kit.owner.get(f"/images/{UNUSED_ID}"),
            422: lambda: kit.images.try_upload(tiny_sample(), {"scale_factor": 9}),
        },
    )


@check("LIM-007")
def a_batch_costs_one_for_each_image(kit: Kit) -> None:
    named_batches(kit)  # where batches are forbidden, it is said here
    _costs(kit, 2, "a batch of two", lambda: kit.batches.create([tiny_sample(), tiny_sample()]))


@check("LIM-008")
def the_headers_of_batch_answers_tell_the_quota(kit: Kit) -> None:
    named_batches(kit)
    _tell_the_quota(
        kit,
        {
            200: lambda: kit.owner.get("/batches", params={"per_page": 1}),
            202: lambda: kit.batches.try_create([tiny_sample()]).permitted(),
            404: lambda: kit.owner.get(f"/batches/{UNUSED_ID}"),
            422: lambda: kit.batches.try_create([tiny_sample()], {"scale_factor": 9}),
        },
    )


@check("LIM-009")
def too_many_requests_are_told_when_to_come_back(kit: Kit) -> None:
    # To use up an account's hour for this would take it from its owner: what came by itself is looked at.
    kit.owner.request("GET", "/usage", wait_on_429=False).expect(200, 429)
    refused = [
        exchange for exchange in kit.transport.exchanges if exchange.status == HTTPStatus.TOO_MANY_REQUESTS
    ]
    for exchange in refused:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        expect(
            headers.get("retry-after", "").strip().isdecimal(),
            "A 429 does not say after how many seconds to come back.",
            expected="Retry-After: seconds",
            actual=headers.get("retry-after"),
        )
    if not refused:
        raise Skipped("No request of this run was answered with 429.")


@check("LIM-010")
def nothing_left_takes_nothing(kit: Kit) -> None:
    def look() -> bool:
        callers = _with_at_most(kit, 0, "/images")
        for caller in callers:
            used = _uploads(kit, caller)["used"]
            kit.images.try_upload(tiny_sample(), client=caller).expect(
                403, why="with nothing left of the quota"
            )
            wrong = kit.images.try_upload(tiny_sample(), {"scale_factor": 9}, client=caller)
            wrong.expect(422, why="with scale_factor 9, and nothing left of the quota,")
            expect_equal(_uploads(kit, caller)["used"], used, "`used` after an upload over the quota")
        return bool(callers)

    if not retry(look):
        raise Skipped(
            "Needs an account that has used up its monthly quota: give a token of one with --token-b, or --token."
        )


@check("LIM-011")
def a_batch_that_does_not_fit_is_refused_whole(kit: Kit) -> None:
    kit.owner.get("/batches", params={"per_page": 1}).permitted()

    def look() -> bool:
        callers = _with_at_most(kit, MAX_IMAGES - 1, "/batches")
        for caller in callers:
            name = f"{kit.tag}-over-{kit.random.getrandbits(32):08x}"
            before = _uploads(kit, caller)
            too_many = _number(before, "remaining") + 1
            response = kit.batches.try_create([tiny_sample()] * too_many, {"name": name}, client=caller)
            response.expect(403, why=f"with {too_many} pictures and {too_many - 1} left of the quota")
            after = _uploads(kit, caller)["used"]
            expect_equal(after, before["used"], "`used` after a batch that does not fit into the quota")
            newest = caller.get("/batches", params={"per_page": 100}).expect(200).data
            stored = [batch["id"] for batch in newest if batch.get("name") == name]
            expect(
                not stored,
                "A batch that did not fit into the quota is in the list.",
                expected=[],
                actual=stored,
            )
        return bool(callers)

    if not retry(look):
        raise Skipped(
            f"Needs an account with batches that has less than {MAX_IMAGES} images left of its monthly quota: give a token "
            "of one with --token-b, or --token."
        )


@check("LIM-012")
def uploads_at_the_same_time_cost_one_each(kit: Kit) -> None:
    uploads = _uploads(kit)
    if not uploads["unlimited"] and _number(uploads, "remaining") < _AT_ONCE:
        raise Inconclusive(f"Needs an account that has {_AT_ONCE} images left of its monthly quota.")

    def look() -> None:
        before = _number(_uploads(kit), "used")
        responses = [
            response.permitted() for response in upload_concurrently(kit, [tiny_sample()] * _AT_ONCE)
        ]
        ids = [response.expect(202, why="at the same time as others").data["id"] for response in responses]
        expect(
            len(set(ids)) == _AT_ONCE,
            "Two images that were sent at the same time have one id.",
            expected="each its own",
            actual=sorted(ids),
        )
        cost = _number(_uploads(kit), "used") - before
        # More may have been somebody else's, and what one upload costs is asked elsewhere.
        expect(
            cost >= _AT_ONCE,
            f"{_AT_ONCE} uploads at the same time cost {cost}.",
            expected=f"at least {_AT_ONCE}",
            actual=cost,
        )

    retry(look)


def _with_at_most(kit: Kit, most: int, path: str) -> list[Client]:
    """Those of the callers who have so little left of a quota, and who may ask for this list at all."""
    callers = [kit.owner] if kit.options.token_b is None else [kit.owner, kit.callers.other]
    return [
        caller
        for caller in callers
        if not (uploads := _uploads(kit, caller))["unlimited"]
        and _number(uploads, "remaining") <= most
        and caller.get(path, params={"per_page": 1}).status != HTTPStatus.FORBIDDEN
    ]


def _uploads(kit: Kit, caller: Client | None = None) -> dict[str, Any]:
    uploads = (caller or kit.owner).get("/usage").expect(200).data["image_uploads"]
    if not isinstance(uploads, dict):
        raise CheckFailed("`image_uploads` is no object.", actual=uploads)
    return uploads


def _number(uploads: dict[str, Any], name: str) -> int:
    value = uploads[name]
    if type(value) is not int or value < 0:
        raise CheckFailed(f"`{name}` is no whole number from 0.", actual=value)
    return value


def _costs(kit: Kit, price: int, what: str, act: Callable[[], object]) -> None:
    def look() -> None:
        before = _number(_uploads(kit), "used")
        act()
        expect_equal(
            _number(_uploads(kit), "used") - before, price, f"The price of {what}, in images of the quota,"
        )

    retry(look)


def _tell_the_quota(kit: Kit, asking: dict[int, Callable[[], Response]]) -> None:
    for status, ask in asking.items():

        def look(status: int = status, ask: Callable[[], Response] = ask) -> None:
            response = ask().expect(status)
            uploads = _uploads(kit)
            for header, name in (("X-RateLimit-Limit", "limit"), ("X-RateLimit-Remaining", "remaining")):
                told = response.headers.get(header)
                expect(
                    told is not None,
                    f"The {status} to {response.request_line} has no {header}.",
                    expected=uploads[name],
                )
                if not uploads["unlimited"]:
                    expect_equal(
                        told, str(uploads[name]), f"{header} of the {status} to {response.request_line}"
                    )

        retry(look)
