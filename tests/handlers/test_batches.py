"""Tests of /batches: submit, get, list, cancel and delete."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.batch_states import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import MakeGradient
    from tests.handlers.conftest import Client, FakeWorker, MakeUser, RawConnection, Server, User

BATCHES = "/api/batches"
MAX_BYTES = 10 * 1024 * 1024
TOO_LARGE = 205 * 1024 * 1024 + 1


@pytest.fixture
def stored_files(server: Server) -> Callable[[], set[str]]:
    """Return a function that lists the files in the store."""
    folder = server.settings.data / "files"
    return lambda: {str(path) for path in folder.rglob("*") if path.is_file()}


def remaining(client: Client, user: User) -> int:
    return int(client.get("/api/images", token=user.token).headers["X-RateLimit-Remaining"])


# --- submit and get


def test_accepted_batch_has_its_fields(client: Client, jane: User, png: bytes) -> None:
    response = client.upload_batch(jane.token, [png] * 3, {"scale_factor": "3", "name": "Product photos"})

    assert (response.status, response.message) == (202, "Batch created and images queued for processing")
    assert response.headers["X-RateLimit-Remaining"] == "997"
    data = response.data
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


def test_batch_goes_from_pending_to_processing(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    batch = client.upload_batch(jane.token, [png] * 2).data
    first, second = (image["id"] for image in batch["images"])
    path = f"{BATCHES}/{batch['id']}"

    seen = []
    for step in (lambda: worker.begin(first), lambda: None):
        step()
        seen.append(client.get(path, token=jane.token).data)
    worker.complete(second)
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
def test_batch_status_depends_on_its_images(
    client: Client,
    jane: User,
    png: bytes,
    worker: FakeWorker,
    ends: list[str],
    status: str,
    completed: int,
    failed: int,
) -> None:
    batch = client.upload_batch(jane.token, [png] * 2).data
    for image, end in zip(batch["images"], ends, strict=True):
        getattr(worker, end)(image["id"])

    response = client.get(f"{BATCHES}/{batch['id']}", token=jane.token)

    assert response.message == "Batch retrieved successfully"
    data = response.data
    assert (data["status"], data["completed_images"], data["failed_images"]) == (status, completed, failed)
    assert data["progress"] == 100
    assert data["completed_at"] == data["updated_at"] >= data["created_at"]


def test_only_images_of_a_batch_have_batch_id(client: Client, jane: User, png: bytes) -> None:
    batch = client.upload_batch(jane.token, [png]).data
    single = client.upload(jane.token, png).data

    listed = {image["id"]: image for image in client.get("/api/images", token=jane.token).data}

    assert listed[batch["images"][0]["id"]]["batch_id"] == batch["id"]
    assert "batch_id" not in listed[single["id"]]
    assert "batch_id" not in single


def test_twenty_files_without_a_name_are_accepted(client: Client, jane: User, png: bytes) -> None:
    data = client.upload_batch(jane.token, [png] * 20, {"name": ""}).data

    assert (data["total_images"], len(data["images"]), data["name"]) == (20, 20, None)


@pytest.mark.parametrize("name", ["x" * 255, "ß" * 255, "Ferien 🙂\n2026", "  "])
def test_batch_name_is_stored_unchanged(client: Client, jane: User, png: bytes, name: str) -> None:
    batch_id = client.upload_batch(jane.token, [png], {"name": name}).data["id"]

    assert client.get(f"{BATCHES}/{batch_id}", token=jane.token).data["name"] == name


# --- all or nothing


@pytest.mark.parametrize("count", [21, 32, 33, 200])
def test_too_many_files_are_an_error_on_images(
    client: Client, jane: User, png: bytes, stored_files: Callable[[], set[str]], count: int
) -> None:
    before = stored_files()

    response = client.upload_batch(jane.token, [png] * count, {"scale_factor": "9"})

    assert response.errors == {
        "images": ["The images field must not have more than 20 items."],
        "scale_factor": ["The scale factor must be between 2 and 4."],
    }
    assert stored_files() == before


def test_batch_without_files_lacks_images(client: Client, jane: User) -> None:
    for fields in ({"name": "x"}, {"name": "x", "images[]": ""}):
        parts = [(name, (None, value)) for name, value in fields.items()]
        assert client.form(jane.token, parts, BATCHES).errors == {"images": ["The images field is required."]}


def test_every_invalid_file_and_field_is_returned(
    client: Client, jane: User, png: bytes, stored_files: Callable[[], set[str]]
) -> None:
    before = stored_files()

    response = client.upload_batch(
        jane.token,
        [b"no image", png, png + bytes(MAX_BYTES)],
        {"scale_factor": "5", "name": "x" * 256, "naem": "x"},
    )

    assert response.errors == {
        "scale_factor": ["The scale factor must be between 2 and 4."],
        "name": ["The name must not be greater than 255 characters."],
        "naem": ["The naem field is not known."],
        "images.0": ["The images.0 must be a file of type: jpeg, png, webp, bmp, tiff, gif."],
        "images.2": ["The images.2 must not be greater than 10240 kilobytes."],
    }
    assert stored_files() == before
    assert remaining(client, jane) == 1000


def test_target_that_fits_no_image_is_an_error_on_the_target(
    client: Client, jane: User, gradient: MakeGradient
) -> None:
    response = client.upload_batch(
        jane.token, [gradient("PNG", 8, 6), gradient("PNG", 9, 6)], {"target_width": "5"}
    )

    assert response.errors == {
        "target_width": [
            "The target width must be larger than the original (8 pixels).",
            "The target width must be larger than the original (9 pixels).",
        ]
    }


def test_target_that_does_not_fit_one_image_is_an_error_on_it(
    client: Client, jane: User, gradient: MakeGradient
) -> None:
    contents = [gradient("PNG", 8, 6), gradient("PNG", 20, 6), gradient("PNG", 9, 6)]

    response = client.upload_batch(jane.token, contents, {"target_width": "16"})

    assert response.errors == {
        "images.1": [
            "The images.1 does not fit: The target width must be larger than the original (20 pixels)."
        ]
    }


@pytest.mark.parametrize(
    ("parts", "field", "message"),
    [
        ([("name", (None, "a")), ("name", (None, "b"))], "name", "The name field must be sent only once."),
        ([("name", (None, "a\x00b"))], "name", "The name has an invalid format."),
        ([("name", ("a.txt", b"a"))], "name", "The name must be text, not a file."),
        (
            [("images[x]", ("a.png", b"a"))],
            "images[x]",
            "The images[x] field is not known. Send each value as images[].",
        ),
        (
            [("images[0][1]", (None, "a"))],
            "images[0][1]",
            "The images[0][1] field is not known. Send each value as images[].",
        ),
        ([("image", ("a.png", b"a"))], "image", "The image field is not known."),
        ([("scale_factor[]", (None, "2"))], "scale_factor[]", "The scale factor[] field is not known."),
    ],
)
def test_malformed_form_field_returns_its_message(
    client: Client, jane: User, png: bytes, parts: list[tuple[str, object]], field: str, message: str
) -> None:
    response = client.form(jane.token, [("images[]", ("x.png", png)), *parts], BATCHES)

    assert response.errors == {field: [message]}


# Generators of clients differ in the name of a field with several files.
@pytest.mark.parametrize(
    "names",
    [
        ("images", "images", "images"),
        ("images[0]", "images[1]", "images[2]"),
        ("images[]", "images", "images[7]"),
    ],
)
def test_files_are_accepted_under_each_usual_name(
    client: Client, jane: User, png: bytes, names: tuple[str, ...]
) -> None:
    parts = [(name, (f"{number}.png", png)) for number, name in enumerate(names)]

    response = client.form(jane.token, parts, BATCHES)

    assert response.status == 202
    names_in_order = [image["original_filename"] for image in response.json["data"]["images"]]
    assert names_in_order == ["0.png", "1.png", "2.png"]


def test_errors_count_the_files_of_all_names(client: Client, jane: User, png: bytes) -> None:
    parts = [("images[1]", ("a.png", png)), ("images", ("b.png", b"no image")), ("images[]", ("c.png", png))]

    assert list(client.form(jane.token, parts, BATCHES).errors) == ["images.1"]


def test_batch_over_the_quota_uses_none_of_it(
    client: Client, make_user: MakeUser, png: bytes, stored_files: Callable[[], set[str]]
) -> None:
    professional = make_user(plan="professional")
    for _ in range(12):
        assert client.upload_batch(professional.token, [png] * 20).status == 202
    before = stored_files()

    response = client.upload_batch(professional.token, [png] * 11)

    assert (response.status, response.message) == (403, "Your monthly image quota is exceeded.")
    assert response.headers["X-RateLimit-Remaining"] == "10"
    assert stored_files() == before
    assert client.get(BATCHES, token=professional.token).json["meta"]["total"] == 12
    assert client.upload_batch(professional.token, [png] * 10).headers["X-RateLimit-Remaining"] == "0"


# --- authorization


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"abilities": ("user:read",)}, "This token does not have the ability that this operation needs."),
        ({"verified": False}, "Your email address is not verified."),
        ({"plan": "free"}, "Your plan does not include API access."),
        ({"plan": "starter"}, "Your plan does not include batches."),
    ],
)
def test_denied_batch_request_returns_its_message(
    client: Client, make_user: MakeUser, png: bytes, changes: dict[str, object], message: str
) -> None:
    token = make_user(**changes).token  # type: ignore[arg-type]
    for response in (
        client.upload_batch(token, [png]),
        client.get(BATCHES, token=token),
        client.get(f"{BATCHES}/1", token=token),
        client.delete(f"{BATCHES}/1", token=token),
    ):
        assert (response.status, response.message) == (403, message)


@pytest.mark.parametrize(("plan", "status"), [("starter", 403), ("professional", 413)])
def test_plan_without_batches_returns_403_before_413(
    connection: RawConnection, make_user: MakeUser, plan: str, status: int
) -> None:
    response = connection.request(
        f"POST {BATCHES} HTTP/1.1\nHost: x\nAuthorization: Bearer {make_user(plan=plan).token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert response.status == status


def test_batch_of_another_account_returns_404(client: Client, make_user: MakeUser, png: bytes) -> None:
    jane, mallory = make_user(), make_user()
    batch_id = client.upload_batch(jane.token, [png]).data["id"]
    for method in ("GET", "DELETE"):
        of_jane = client.request(method, f"{BATCHES}/{batch_id}", token=mallory.token)
        missing = client.request(method, f"{BATCHES}/{batch_id + 1000}", token=mallory.token)
        assert (of_jane.status, of_jane.body) == (404, missing.body)
    assert client.get(f"{BATCHES}/{batch_id}", token=jane.token).data["status"] == "pending"
    assert client.get(BATCHES, token=mallory.token).data == []


# --- lists


def test_batches_are_listed_newest_first_with_images(
    client: Client, jane: User, png: bytes, server: Server
) -> None:
    made = [client.upload_batch(jane.token, [png] * count).data for count in (1, 3, 2, 1, 2)]
    origin = f"{server.settings.origin}{BATCHES}"

    response = client.get(f"{BATCHES}?page=2&per_page=2", token=jane.token)

    assert response.message == "Batches retrieved successfully"
    assert [(batch["id"], [image["id"] for image in batch["images"]]) for batch in response.data] == [
        (batch["id"], [image["id"] for image in batch["images"]]) for batch in (made[2], made[1])
    ]
    assert response.json["meta"] == {"current_page": 2, "last_page": 3, "per_page": 2, "total": 5}
    assert response.json["links"]["next"] == f"{origin}?per_page=2&page=3"


def test_status_filter_lists_matching_batches(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    batches = [client.upload_batch(jane.token, [png]).data for _ in range(4)]
    worker.complete(batches[0]["images"][0]["id"])
    worker.fail(batches[1]["images"][0]["id"])
    client.delete(f"{BATCHES}/{batches[2]['id']}", token=jane.token)

    shown = {}
    for status in ("pending", "processing", "completed", "partially_failed", "failed", "cancelled"):
        response = client.get(f"{BATCHES}?status={status}", token=jane.token)
        shown[status] = [batch["id"] for batch in response.data]
        assert parse_qs(urlsplit(response.json["links"]["first"]).query)["status"] == [status]

    assert shown == {
        "pending": [batches[3]["id"]],
        "processing": [],
        "completed": [batches[0]["id"]],
        "partially_failed": [],
        "failed": [batches[1]["id"]],
        "cancelled": [batches[2]["id"]],
    }


def test_unknown_status_filter_returns_422(client: Client, jane: User) -> None:
    assert client.get(f"{BATCHES}?status=done&page=0", token=jane.token).errors == {
        "page": ["The page must be between 1 and 9007199254740991."],
        "status": [f"The status must be one of: all, {', '.join(BatchStatus)}."],
    }


# --- cancel and delete


def test_cancel_keeps_completed_and_refunds_pending_images(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    batch = client.upload_batch(jane.token, [png] * 4).data
    done, at_work, *_ = (image["id"] for image in batch["images"])
    worker.complete(done)
    worker.begin(at_work)
    path = f"{BATCHES}/{batch['id']}"

    response = client.delete(path, token=jane.token)

    assert response.json == {"success": True, "message": "Batch cancelled successfully"}
    assert response.headers["X-RateLimit-Remaining"] == "998"
    data = client.get(path, token=jane.token).data
    assert (data["status"], data["completed_images"], data["failed_images"]) == ("cancelled", 1, 3)
    assert data["progress"] == 100
    assert data["completed_at"] is not None
    assert [image["status"] for image in data["images"]] == ["completed", "failed", "failed", "failed"]
    assert {image["error"] for image in data["images"][1:]} == {
        "The batch was cancelled before this image was finished."
    }


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_finished_batch_is_deleted_with_images_and_files(
    client: Client,
    jane: User,
    png: bytes,
    worker: FakeWorker,
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
            getattr(worker, end)(image["id"])
    left = remaining(client, jane)

    response = client.delete(path, token=jane.token)

    assert response.json == {"success": True, "message": "Batch deleted successfully"}
    assert client.get(path, token=jane.token).status == 404
    assert client.delete(path, token=jane.token).status == 404
    assert client.get("/api/images", token=jane.token).data == []
    assert stored_files() == before
    assert remaining(client, jane) == left


def test_deleted_image_leaves_the_counters_of_its_batch(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    batch = client.upload_batch(jane.token, [png] * 3).data
    done, pending, last = (image["id"] for image in batch["images"])
    worker.complete(done)
    for image_id in (done, pending):
        assert client.delete(f"/api/images/{image_id}", token=jane.token).status == 200

    data = client.get(f"{BATCHES}/{batch['id']}", token=jane.token).data

    assert (data["total_images"], data["completed_images"], data["failed_images"]) == (3, 1, 1)
    assert (data["status"], data["progress"]) == ("processing", 66)
    assert [image["id"] for image in data["images"]] == [last]
