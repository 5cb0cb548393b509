"""/batches: many pictures at once, followed, listed, cancelled and deleted together."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import MakeGradient
    from tests.handlers.conftest import Client, MakePerson, Person, Server, Wire, Work

BATCHES = "/api/batches"
MAX_BYTES = 10 * 1024 * 1024
TOO_LARGE = 205 * 1024 * 1024 + 1


@pytest.fixture
def stored_files(server: Server) -> Callable[[], set[str]]:
    """What lies in the store."""
    folder = server.settings.data / "files"
    return lambda: {str(path) for path in folder.rglob("*") if path.is_file()}


def remaining(client: Client, person: Person) -> int:
    return int(client.get("/api/images", token=person.token).headers["X-RateLimit-Remaining"])


# --- send and follow


def test_a_batch_is_accepted_with_what_is_known_of_it(client: Client, jane: Person, png: bytes) -> None:
    reply = client.upload_batch(jane.token, [png] * 3, {"scale_factor": "3", "name": "Product photos"})

    assert (reply.status, reply.message) == (202, "Batch created and images queued for processing")
    assert reply.headers["X-RateLimit-Remaining"] == "997"
    data = reply.data
    images = data.pop("images")
    batch_id = data.pop("id")
    assert data.pop("created_at") == data.pop("updated_at")
    assert data == {
        "name": "Product photos",
        "status": "pending",
        "total_images": 3,
        "completed_images": 0,
        "failed_images": 0,
        "scale_factor": 3,
        "target_width": None,
        "target_height": None,
        "progress": 0,
        "completed_at": None,
    }
    assert [image["original_filename"] for image in images] == ["photo0.png", "photo1.png", "photo2.png"]
    assert {image["batch_id"] for image in images} == {batch_id}
    assert {image["status"] for image in images} == {"pending"}
    assert {image["scale_factor"] for image in images} == {3}
    assert "upscaled_path" not in images[0]


def test_a_batch_is_followed_from_pending_to_completed(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    batch = client.upload_batch(jane.token, [png] * 2).data
    first, second = (image["id"] for image in batch["images"])
    path = f"{BATCHES}/{batch['id']}"

    seen = []
    for step in (lambda: work.begin(first), lambda: None):
        step()
        seen.append(client.get(path, token=jane.token).data)
    work.complete(second)
    seen.append(client.get(path, token=jane.token).data)

    assert [data["status"] for data in seen] == ["processing"] * 3
    assert [data["progress"] for data in seen] == [0, 0, 50]
    assert [image["status"] for image in seen[-1]["images"]] == ["processing", "completed"]
    assert seen[-1]["images"][1]["download_url"].startswith("http")
    assert seen[-1]["images"][1]["batch_id"] == batch["id"]
    assert seen[-1]["completed_at"] is None


@pytest.mark.parametrize(
    ("ends", "status", "completed", "failed"),
    [
        (["complete", "complete"], "completed", 2, 0),
        (["complete", "fail"], "partially_failed", 1, 1),
        (["fail", "fail"], "failed", 0, 2),
    ],
)
def test_a_batch_ends_as_its_images_did(
    client: Client,
    jane: Person,
    png: bytes,
    work: Work,
    ends: list[str],
    status: str,
    completed: int,
    failed: int,
) -> None:
    batch = client.upload_batch(jane.token, [png] * 2).data
    for image, end in zip(batch["images"], ends, strict=True):
        getattr(work, end)(image["id"])

    reply = client.get(f"{BATCHES}/{batch['id']}", token=jane.token)

    assert reply.message == "Batch retrieved successfully"
    data = reply.data
    assert (data["status"], data["completed_images"], data["failed_images"]) == (status, completed, failed)
    assert data["progress"] == 100
    assert data["completed_at"] == data["updated_at"] >= data["created_at"]


def test_an_image_speaks_of_its_batch_and_a_single_one_of_none(
    client: Client, jane: Person, png: bytes
) -> None:
    batch = client.upload_batch(jane.token, [png]).data
    single = client.upload(jane.token, png).data

    listed = {image["id"]: image for image in client.get("/api/images", token=jane.token).data}

    assert listed[batch["images"][0]["id"]]["batch_id"] == batch["id"]
    assert "batch_id" not in listed[single["id"]]
    assert "batch_id" not in single


def test_twenty_files_are_accepted_and_the_label_may_be_missing(
    client: Client, jane: Person, png: bytes
) -> None:
    data = client.upload_batch(jane.token, [png] * 20, {"name": ""}).data

    assert (data["total_images"], len(data["images"]), data["name"]) == (20, 20, None)


@pytest.mark.parametrize("name", ["x" * 255, "ß" * 255, "Ferien 🙂\n2026", "  "])
def test_a_label_comes_back_as_it_was_sent(client: Client, jane: Person, png: bytes, name: str) -> None:
    batch_id = client.upload_batch(jane.token, [png], {"name": name}).data["id"]

    assert client.get(f"{BATCHES}/{batch_id}", token=jane.token).data["name"] == name


# --- all or nothing


@pytest.mark.parametrize("count", [21, 32, 33, 200])
def test_too_many_files_are_an_error_on_the_field(
    client: Client, jane: Person, png: bytes, stored_files: Callable[[], set[str]], count: int
) -> None:
    before = stored_files()

    reply = client.upload_batch(jane.token, [png] * count, {"scale_factor": "9"})

    assert reply.errors == {
        "images": ["The images field must not have more than 20 items."],
        "scale_factor": ["The scale factor must be between 2 and 4."],
    }
    assert stored_files() == before


def test_a_batch_without_files_lacks_its_images(client: Client, jane: Person) -> None:
    for fields in ({"name": "x"}, {"name": "x", "images[]": ""}):
        parts = [(name, (None, value)) for name, value in fields.items()]
        assert client.form(jane.token, parts, BATCHES).errors == {"images": ["The images field is required."]}


def test_every_bad_file_is_named_beside_every_bad_field(
    client: Client, jane: Person, png: bytes, stored_files: Callable[[], set[str]]
) -> None:
    before = stored_files()

    reply = client.upload_batch(
        jane.token,
        [b"no picture", png, png + bytes(MAX_BYTES)],
        {"scale_factor": "5", "name": "x" * 256, "naem": "x"},
    )

    assert reply.errors == {
        "scale_factor": ["The scale factor must be between 2 and 4."],
        "name": ["The name must not be greater than 255 characters."],
        "naem": ["The naem field is not known."],
        "images.0": ["The images.0 must be a file of type: jpeg, png, webp, bmp, tiff, gif."],
        "images.2": ["The images.2 must not be greater than 10240 kilobytes."],
    }
    assert stored_files() == before
    assert remaining(client, jane) == 1000


def test_a_target_that_fits_none_is_an_error_on_the_target(
    client: Client, jane: Person, gradient: MakeGradient
) -> None:
    reply = client.upload_batch(
        jane.token, [gradient("PNG", 8, 6), gradient("PNG", 9, 6)], {"target_width": "5"}
    )

    assert reply.errors == {
        "target_width": [
            "The target width must be larger than the original (8 pixels).",
            "The target width must be larger than the original (9 pixels).",
        ]
    }


def test_a_target_that_fits_all_but_one_is_an_error_on_that_one(
    client: Client, jane: Person, gradient: MakeGradient
) -> None:
    contents = [gradient("PNG", 8, 6), gradient("PNG", 20, 6), gradient("PNG", 9, 6)]

    reply = client.upload_batch(jane.token, contents, {"target_width": "16"})

    assert reply.errors == {
        "images.1": [
            "The images.1 does not fit: The target width must be larger than the original (20 pixels)."
        ]
    }


@pytest.mark.parametrize(
    ("parts", "field", "sentence"),
    [
        ([("images[]", (None, "text"))], "images", "The images must be a file."),
        ([("name", (None, "a")), ("name", (None, "b"))], "name", "The name field must be given only once."),
        ([("name", (None, "a\x00b"))], "name", "The name is not in the right form."),
        ([("name", ("a.txt", b"a"))], "name", "The name must be text, not a file."),
        ([("images", ("a.png", b"a"))], "images", "The images field is not known."),
        ([("images[0]", ("a.png", b"a"))], "images[0]", "The images[0] field is not known."),
    ],
)
def test_the_form_of_each_field_is_checked(
    client: Client, jane: Person, png: bytes, parts: list[tuple[str, object]], field: str, sentence: str
) -> None:
    reply = client.form(jane.token, [("images[]", ("x.png", png)), *parts], BATCHES)

    assert reply.errors == {field: [sentence]}


def test_a_batch_that_does_not_fit_the_quota_takes_nothing_of_it(
    client: Client, person: MakePerson, png: bytes, stored_files: Callable[[], set[str]]
) -> None:
    professional = person(plan="professional")
    for _ in range(12):
        assert client.upload_batch(professional.token, [png] * 20).status == 202
    before = stored_files()

    reply = client.upload_batch(professional.token, [png] * 11)

    assert (reply.status, reply.message) == (403, "Your monthly image quota is exceeded.")
    assert reply.headers["X-RateLimit-Remaining"] == "10"
    assert stored_files() == before
    assert client.get(BATCHES, token=professional.token).json["meta"]["total"] == 12
    assert client.upload_batch(professional.token, [png] * 10).headers["X-RateLimit-Remaining"] == "0"


# --- who may


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"abilities": ("user:read",)}, "This token does not have the ability that this operation needs."),
        ({"verified": False}, "Your email address is not verified."),
        ({"plan": "free"}, "Your plan does not include API access."),
        ({"plan": "starter"}, "Your plan does not include batches."),
    ],
)
def test_each_reason_for_a_refusal_has_its_sentence(
    client: Client, person: MakePerson, png: bytes, changes: dict[str, object], message: str
) -> None:
    token = person(**changes).token  # type: ignore[arg-type]
    for reply in (
        client.upload_batch(token, [png]),
        client.get(BATCHES, token=token),
        client.get(f"{BATCHES}/1", token=token),
        client.delete(f"{BATCHES}/1", token=token),
    ):
        assert (reply.status, reply.message) == (403, message)


@pytest.mark.parametrize(("plan", "status"), [("starter", 403), ("professional", 413)])
def test_a_plan_without_batches_is_told_before_the_size(
    wire: Wire, person: MakePerson, plan: str, status: int
) -> None:
    reply = wire.ask(
        f"POST {BATCHES} HTTP/1.1\nHost: x\nAuthorization: Bearer {person(plan=plan).token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert reply.status == status


def test_anothers_batch_is_answered_like_a_missing_one(
    client: Client, person: MakePerson, png: bytes
) -> None:
    jane, mallory = person(), person()
    batch_id = client.upload_batch(jane.token, [png]).data["id"]
    for method in ("GET", "DELETE"):
        of_jane = client.request(method, f"{BATCHES}/{batch_id}", token=mallory.token)
        missing = client.request(method, f"{BATCHES}/{batch_id + 1000}", token=mallory.token)
        assert (of_jane.status, of_jane.body) == (404, missing.body)
    assert client.get(f"{BATCHES}/{batch_id}", token=jane.token).data["status"] == "pending"
    assert client.get(BATCHES, token=mallory.token).data == []


# --- lists


def test_a_list_has_the_newest_first_with_all_their_images(
    client: Client, jane: Person, png: bytes, server: Server
) -> None:
    made = [client.upload_batch(jane.token, [png] * count).data for count in (1, 3, 2, 1, 2)]
    origin = f"{server.settings.origin}{BATCHES}"

    reply = client.get(f"{BATCHES}?page=2&per_page=2", token=jane.token)

    assert reply.message == "Batches retrieved successfully"
    assert [(batch["id"], [image["id"] for image in batch["images"]]) for batch in reply.data] == [
        (batch["id"], [image["id"] for image in batch["images"]]) for batch in (made[2], made[1])
    ]
    assert reply.json["meta"] == {"current_page": 2, "last_page": 3, "per_page": 2, "total": 5}
    assert reply.json["links"]["next"] == f"{origin}?per_page=2&page=3"


def test_a_filter_shows_only_batches_of_that_status(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    batches = [client.upload_batch(jane.token, [png]).data for _ in range(4)]
    work.complete(batches[0]["images"][0]["id"])
    work.fail(batches[1]["images"][0]["id"])
    client.delete(f"{BATCHES}/{batches[2]['id']}", token=jane.token)

    shown = {}
    for status in ("pending", "processing", "completed", "partially_failed", "failed", "cancelled"):
        reply = client.get(f"{BATCHES}?status={status}", token=jane.token)
        shown[status] = [batch["id"] for batch in reply.data]
        assert parse_qs(urlsplit(reply.json["links"]["first"]).query)["status"] == [status]

    assert shown == {
        "pending": [batches[3]["id"]],
        "processing": [],
        "completed": [batches[0]["id"]],
        "partially_failed": [],
        "failed": [batches[1]["id"]],
        "cancelled": [batches[2]["id"]],
    }


def test_a_status_that_no_batch_has_is_refused(client: Client, jane: Person) -> None:
    assert client.get(f"{BATCHES}?status=done&page=0", token=jane.token).errors == {
        "page": ["The page must be between 1 and 9007199254740991."],
        "status": [
            "The status must be one of: pending, processing, completed, partially_failed, failed, cancelled."
        ],
    }


# --- cancel and delete


def test_cancelling_keeps_what_is_completed_and_gives_back_what_was_pending(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    batch = client.upload_batch(jane.token, [png] * 4).data
    done, at_work, *_ = (image["id"] for image in batch["images"])
    work.complete(done)
    work.begin(at_work)
    path = f"{BATCHES}/{batch['id']}"

    reply = client.delete(path, token=jane.token)

    assert reply.json == {"success": True, "message": "Batch cancelled successfully"}
    assert reply.headers["X-RateLimit-Remaining"] == "998"
    data = client.get(path, token=jane.token).data
    assert (data["status"], data["completed_images"], data["failed_images"]) == ("cancelled", 1, 3)
    assert data["progress"] == 100
    assert data["completed_at"] is not None
    assert [image["status"] for image in data["images"]] == ["completed", "failed", "failed", "failed"]
    assert {image["error"] for image in data["images"][1:]} == {
        "The batch was cancelled before this picture was finished."
    }


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_a_batch_at_its_end_is_deleted_with_images_and_files(
    client: Client,
    jane: Person,
    png: bytes,
    work: Work,
    stored_files: Callable[[], set[str]],
    end: str,
) -> None:
    before = stored_files()
    batch = client.upload_batch(jane.token, [png] * 2).data
    path = f"{BATCHES}/{batch['id']}"
    if end == "cancel":
        client.delete(path, token=jane.token)
    else:
        for image in batch["images"]:
            getattr(work, end)(image["id"])
    left = remaining(client, jane)

    reply = client.delete(path, token=jane.token)

    assert reply.json == {"success": True, "message": "Batch deleted successfully"}
    assert client.get(path, token=jane.token).status == 404
    assert client.delete(path, token=jane.token).status == 404
    assert client.get("/api/images", token=jane.token).data == []
    assert stored_files() == before
    assert remaining(client, jane) == left


def test_an_image_that_is_deleted_leaves_the_batch_but_not_its_counters(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    batch = client.upload_batch(jane.token, [png] * 3).data
    done, pending, last = (image["id"] for image in batch["images"])
    work.complete(done)
    for image_id in (done, pending):
        assert client.delete(f"/api/images/{image_id}", token=jane.token).status == 200

    data = client.get(f"{BATCHES}/{batch['id']}", token=jane.token).data

    assert (data["total_images"], data["completed_images"], data["failed_images"]) == (3, 1, 1)
    assert (data["status"], data["progress"]) == ("processing", 66)
    assert [image["id"] for image in data["images"]] == [last]
