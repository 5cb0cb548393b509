from __future__ import annotations

from conformance.contract import fields_of_completed, resolve, schema_problems

IMAGE, ACCEPTED = "/components/schemas/ImageDetails", "/components/schemas/UploadedImage"
SUBSCRIPTION = "/components/schemas/Subscription"


def accepted(**changes: object) -> dict[str, object]:
    return {
        "id": 1,
        "original_filename": "a.png",
        "original_size": 100,
        "original_size_human": "100 B",
        "original_dimensions": None,
        "status": "pending",
        "scale_factor": 2,
        "target_width": None,
        "target_height": None,
        "api_request": True,
        "created_at": "2026-02-15T12:00:00.000000Z",
        "updated_at": "2026-02-15T12:00:00.000000Z",
        **changes,
    }


def without(image: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in image.items() if name not in names}


def test_times_may_have_any_zone_and_precision() -> None:
    assert not schema_problems(ACCEPTED, accepted(created_at="2026-02-15T13:00:00+01:00"))
    assert schema_problems(ACCEPTED, accepted(created_at="2026-02-15 13:00:00"))


def test_nullable_fields_may_be_missing() -> None:
    assert not schema_problems(ACCEPTED, without(accepted(), "original_dimensions", "target_width"))


def test_completed_objects_have_the_nullable_fields() -> None:
    assert {"original_dimensions", "target_width", "id"} <= fields_of_completed(ACCEPTED)
    assert {"download_url", "created_at"} <= fields_of_completed(IMAGE)
    assert not fields_of_completed(IMAGE) & {"progress", "model", "device", "error"}


def test_required_field_may_not_be_missing() -> None:
    assert schema_problems(ACCEPTED, without(accepted(), "original_filename"))
    assert schema_problems(IMAGE, accepted(status="completed"))  # without `original_path`


def test_additional_fields_are_allowed_in_data() -> None:
    assert not schema_problems(ACCEPTED, accepted(colour="blue"))


def test_additional_members_of_envelope_are_rejected() -> None:
    assert schema_problems(
        "/components/schemas/ErrorResponse", {"success": False, "message": "No.", "status": 404}
    )


def test_subscription_status_may_be_any_text() -> None:
    words = resolve(f"{SUBSCRIPTION}/properties/status/x-uprez-exact/enum")
    assert "active" in words
    assert not [
        said for said in schema_problems(SUBSCRIPTION, {"status": "past_due"}) if said.startswith("status")
    ]
