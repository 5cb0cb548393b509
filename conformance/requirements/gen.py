"""What holds for every request, also for those that nobody would think of, and for steps in any order."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.catalogue import check
from conformance.fuzzing.schemathesis_run import expect_no_findings, sends_anonymous_requests
from conformance.fuzzing.state_machines import Batches, Images, Tokens, run_machine
from conformance.verdicts import Skipped

if TYPE_CHECKING:
    from conformance.kit import Kit

_UPLOADS = {"POST /images/upscale", "POST /batches"}


@check("GEN-001")
def no_request_makes_the_server_fail(kit: Kit) -> None:
    expect_no_findings(kit, "not_a_server_error")


@check("GEN-002")
def every_status_is_a_documented_one(kit: Kit) -> None:
    expect_no_findings(kit, "status_code_conformance")


@check("GEN-003")
def every_answer_keeps_its_schema(kit: Kit) -> None:
    expect_no_findings(kit, "body_matches_schema", "content_type_conformance")


@check("GEN-004")
def every_answer_is_in_the_envelope(kit: Kit) -> None:
    expect_no_findings(kit, "body_is_envelope")


@check("GEN-005")
def every_answer_has_its_headers(kit: Kit) -> None:
    expect_no_findings(kit, "response_headers_conformance")


@check("GEN-006")
def wrong_requests_are_refused(kit: Kit) -> None:
    expect_no_findings(
        kit, "negative_data_rejection", evidence=lambda _, status: status == HTTPStatus.UNPROCESSABLE_ENTITY
    )


@check("GEN-007")
def right_requests_are_accepted(kit: Kit) -> None:
    checks = ("positive_data_acceptance", "valid_image_is_accepted")
    expect_no_findings(
        kit,
        *checks,
        evidence=lambda operation, status: operation in _UPLOADS and status == HTTPStatus.ACCEPTED,
    )


@check("GEN-008")
def what_is_no_picture_is_refused(kit: Kit) -> None:
    expect_no_findings(
        kit,
        "unreadable_image_is_rejected",
        evidence=lambda operation, status: (
            operation in _UPLOADS and status == HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    )


@check("GEN-009")
def other_methods_are_refused(kit: Kit) -> None:
    expect_no_findings(
        kit, "unsupported_method", evidence=lambda _, status: status == HTTPStatus.METHOD_NOT_ALLOWED
    )


@check("GEN-010")
def nothing_is_answered_without_a_token(kit: Kit) -> None:
    if not sends_anonymous_requests(kit):
        raise Skipped("Requests without a token are sent only with the profile `security` as well.")
    expect_no_findings(kit, "ignored_auth", evidence=lambda _, status: status == HTTPStatus.UNAUTHORIZED)


@check("GEN-011")
def what_was_made_is_there_and_what_was_deleted_is_not(kit: Kit) -> None:
    expect_no_findings(
        kit,
        "deleted_image_stays_deleted",
        "use_after_free",
        "ensure_resource_availability",
        evidence=lambda operation, status: operation == "DELETE /images/{id}" and status == HTTPStatus.OK,
    )


@check("GEN-101")
def tokens_live_and_end_as_told(kit: Kit) -> None:
    run_machine(kit, Tokens)


@check("GEN-102")
def images_live_and_end_as_told(kit: Kit) -> None:
    kit.owner.get("/images").permitted()
    run_machine(kit, Images)


@check("GEN-103")
def batches_live_and_end_as_told(kit: Kit) -> None:
    kit.owner.get("/batches").permitted()
    run_machine(kit, Batches)
