"""Checks with generated requests and with random sequences of operations."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.fuzzing.schemathesis_run import expect_no_findings, sends_anonymous_requests
from conformance.fuzzing.state_machines import Batches, Images, Tokens, run_machine
from conformance.verdicts import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from conformance.kit import Kit

_UPLOADS = {"POST /images/upscale", "POST /batches"}


def _status_is(wanted: HTTPStatus, operations: Collection[str] = ()) -> Callable[[str, int], bool]:
    """Return a predicate for responses with this status, of any operation or of these operations."""
    return lambda operation, status: status == wanted and (not operations or operation in operations)


@check("GEN-001")
def check_no_server_error(kit: Kit) -> None:
    """Check that no generated request causes a server error."""
    expect_no_findings(kit, "not_a_server_error")


@check("GEN-002")
def check_documented_status(kit: Kit) -> None:
    """Check that every response has a documented status."""
    expect_no_findings(kit, "status_code_conformance")


@check("GEN-003")
def check_response_schema(kit: Kit) -> None:
    """Check that every response matches its schema and media type."""
    expect_no_findings(kit, "body_matches_schema", "content_type_conformance")


@check("GEN-004")
def check_envelope(kit: Kit) -> None:
    """Check that every response is an envelope."""
    expect_no_findings(kit, "body_is_envelope")


@check("GEN-005")
def check_response_headers(kit: Kit) -> None:
    """Check that every response has the headers of its status."""
    expect_no_findings(kit, "response_headers_conformance")


@check("GEN-006")
def check_invalid_requests_are_rejected(kit: Kit) -> None:
    """Check that generated requests that violate their schema are rejected.

    Raise Inconclusive if no response of the run was a 422.
    """
    evidence = _status_is(HTTPStatus.UNPROCESSABLE_ENTITY)
    expect_no_findings(kit, "negative_data_rejection", evidence=evidence)


@check("GEN-007")
def check_valid_requests_are_accepted(kit: Kit) -> None:
    """Check that generated requests that match their schema, and valid images, are accepted.

    Raise Inconclusive if no upload of the run returned 202.
    """
    checks = ("positive_data_acceptance", "valid_image_is_accepted")
    expect_no_findings(kit, *checks, evidence=_status_is(HTTPStatus.ACCEPTED, _UPLOADS))


@check("GEN-008")
def check_unreadable_files_are_rejected(kit: Kit) -> None:
    """Check that generated files that cannot be decoded are rejected.

    Raise Inconclusive if no upload returned 422.
    """
    evidence = _status_is(HTTPStatus.UNPROCESSABLE_ENTITY, _UPLOADS)
    expect_no_findings(kit, "unreadable_image_is_rejected", evidence=evidence)


@check("GEN-009")
def check_undefined_methods_are_rejected(kit: Kit) -> None:
    """Check that methods that a route does not define are rejected."""
    expect_no_findings(kit, "unsupported_method", evidence=_status_is(HTTPStatus.METHOD_NOT_ALLOWED))


@check("GEN-010")
def check_token_is_required(kit: Kit) -> None:
    """Check that no generated request succeeds without a valid token."""
    if not sends_anonymous_requests(kit):
        raise Skipped("Needs the profile `security`, which allows requests without a token.")
    expect_no_findings(kit, "ignored_auth", evidence=_status_is(HTTPStatus.UNAUTHORIZED))


@check("GEN-011")
def check_created_and_deleted_images(kit: Kit) -> None:
    """Check that created images exist and that deleted images do not."""
    checks = ("deleted_image_stays_deleted", "use_after_free", "ensure_resource_availability")
    expect_no_findings(kit, *checks, evidence=_status_is(HTTPStatus.OK, {"DELETE /images/{id}"}))


@check("GEN-101")
def check_token_sequences(kit: Kit) -> None:
    """Create, list, use and revoke tokens in random sequences, and compare each response with a model."""
    run_machine(kit, Tokens)


@check("GEN-102")
def check_image_sequences(kit: Kit) -> None:
    """Upload, read, list and delete images in random sequences, and compare each response with a model.

    Raise Inconclusive if the account may not list images (403).
    """
    kit.owner.get("/images").permitted()
    run_machine(kit, Images)


@check("GEN-103")
def check_batch_sequences(kit: Kit) -> None:
    """Create, read, list, cancel and delete batches in random sequences, and compare each response with a
    model. Raise Inconclusive if the account may not list batches (403).
    """
    kit.owner.get("/batches").permitted()
    run_machine(kit, Batches)
