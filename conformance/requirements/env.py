"""Checks of the schemas of successful responses, and of the members of the envelope."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.catalogue import check
from conformance.envelope import contract_exchanges, expect_documented, expect_error
from conformance.images.samples import make_sample
from conformance.verdicts import expect, expect_equal

if TYPE_CHECKING:
    from conformance.kit import Kit

_LARGEST_ID = 9007199254740991  # of the contract; no server has so many images
_ENVELOPE = {"success", "message", "data", "meta", "links", "errors"}


@check("ENV-001")
def check_upload_schema(kit: Kit) -> None:
    """Check that the response to an upload matches its schema."""
    response = kit.images.try_upload(make_sample("png"), {"scale_factor": 2}).permitted()
    expect_documented(response, "POST /images/upscale", 202)


@check("ENV-002")
def check_image_schema(kit: Kit) -> None:
    """Check that a completed image matches its schema."""
    expect_documented(kit.owner.get(f"/images/{_completed_id(kit)}"), "GET /images/{id}", 200)


@check("ENV-003")
def check_list_schema(kit: Kit) -> None:
    """Check that a list that is not empty matches its schema."""
    _completed_id(kit)
    expect_documented(kit.owner.get("/images", params={"per_page": 2}), "GET /images", 200)


@check("ENV-004")
def check_download_schema(kit: Kit) -> None:
    """Check that the response to a download matches its schema."""
    response = kit.owner.get(f"/images/{_completed_id(kit)}/download")
    expect_documented(response, "GET /images/{id}/download", 200)


@check("ENV-005")
def check_account_schema(kit: Kit) -> None:
    """Check that the account matches its schema."""
    expect_documented(kit.owner.get("/user"), "GET /user", 200)


@check("ENV-006")
def check_token_list_schema(kit: Kit) -> None:
    """Check that the token list matches its schema, and that its count is correct."""
    listed = expect_documented(kit.owner.get("/user/tokens"), "GET /user/tokens", 200).data
    expect_equal(listed["count"], len(listed["tokens"]), "`count` of GET /user/tokens")


@check("ENV-007")
def check_usage_schema(kit: Kit) -> None:
    """Check that the usage matches its schema."""
    expect_documented(kit.owner.get("/usage"), "GET /usage", 200)


@check("ENV-008")
def check_subscription_schema(kit: Kit) -> None:
    """Check that the subscription matches its schema."""
    expect_documented(kit.owner.get("/subscription"), "GET /subscription", 200)


@check("ENV-009")
def check_batch_schemas(kit: Kit) -> None:
    """Check that create, get, list and delete of a batch return 202, 200, 200 and 200 and match their
    schemas.
    """
    created = kit.batches.try_create([make_sample("png")], {"scale_factor": 2}).permitted()
    batch_id = expect_documented(created, "POST /batches", 202).data["id"]
    expect_documented(kit.owner.get(f"/batches/{batch_id}"), "GET /batches/{id}", 200)
    expect_documented(kit.owner.get("/batches", params={"per_page": 2}), "GET /batches", 200)
    expect_documented(kit.owner.delete(f"/batches/{batch_id}"), "DELETE /batches/{id}", 200)


@check("ENV-010")
def check_deletion_schema(kit: Kit) -> None:
    """Check that the response to the deletion of a new image matches its schema."""
    image_id = kit.images.upload(make_sample("png"), {"scale_factor": 2})["id"]
    expect_documented(kit.images.delete(image_id), "DELETE /images/{id}", 200)


@check("ENV-012")
def check_only_422_has_errors(kit: Kit) -> None:
    """Check that a 422 has field errors, and that no other response of the whole run so far has ``errors``."""
    expect_error(kit.owner.get("/images", params={"per_page": "0"}), 422)
    expect_error(kit.owner.get(f"/images/{_LARGEST_ID}/download"), 404)
    for request_line, exchange in contract_exchanges(kit.transport):
        body = _parse_object(exchange.body)
        expect(
            exchange.status == HTTPStatus.UNPROCESSABLE_ENTITY or "errors" not in body,
            f"The {exchange.status} response to {request_line} has `errors`, which only a 422 has.",
            expected="no `errors`",
            actual=body.get("errors"),
        )


@check("ENV-013")
def check_envelope_members(kit: Kit) -> None:
    """Check that no envelope of the whole run so far has a member that the contract does not name."""
    for path in ("/user", "/images", f"/images/{_LARGEST_ID}"):
        kit.owner.get(path)
    for request_line, exchange in contract_exchanges(kit.transport):
        unknown = sorted(set(_parse_object(exchange.body)) - _ENVELOPE)
        expect(
            not unknown,
            f"The {exchange.status} response to {request_line} has the unknown members `{'`, `'.join(unknown)}`.",
            expected=sorted(_ENVELOPE),
            actual=unknown,
        )


def _completed_id(kit: Kit) -> int:
    """Return the id of the run's completed PNG."""
    image_id: int = kit.images.completed_png().image["id"]
    return image_id


def _parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object, or an empty one for any other body, which HDR-004 reports."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
