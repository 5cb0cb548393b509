from __future__ import annotations

from conformance.contract import resolve, schema_problems

IMAGE, ACCEPTED = "/components/schemas/Image", "/components/schemas/UploadedImage"
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


def test_times_of_other_servers_may_have_any_zone_and_precision() -> None:
    assert not schema_problems(ACCEPTED, accepted(created_at="2026-02-15T13:00:00+01:00"))
    assert schema_problems(ACCEPTED, accepted(created_at="2026-02-15 13:00:00"))


def test_what_is_not_there_yet_may_be_left_out_until_the_image_is_completed() -> None:
    assert not schema_problems(ACCEPTED, without(accepted(), "original_dimensions", "target_width"))
    assert schema_problems(ACCEPTED, without(accepted(status="completed"), "original_dimensions"))


def test_what_is_always_there_may_not_be_left_out() -> None:
    assert schema_problems(ACCEPTED, without(accepted(), "original_filename"))
    assert schema_problems(IMAGE, accepted(status="completed"))


def test_fields_beyond_the_documented_ones_are_nothing_wrong() -> None:
    assert not schema_problems(ACCEPTED, accepted(colour="blue"))


def test_an_envelope_has_no_further_members() -> None:
    assert schema_problems("/components/schemas/Error", {"success": False, "message": "No.", "status": 404})


def test_the_words_of_a_subscriptions_status_are_left_to_the_server() -> None:
    words = resolve(f"{SUBSCRIPTION}/properties/status/enum")
    assert "active" in words
    assert not [
        said for said in schema_problems(SUBSCRIPTION, {"status": "past_due"}) if said.startswith("status")
    ]
