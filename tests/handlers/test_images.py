"""Tests of /images: submit, get, list, download, delete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from gradients import MakeGradient
    from tests.handlers.conftest import Client, FakeWorker, MakeUser, Response, Server, User

INVALID_IDS = [
    "0",
    "00",
    "007",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "x",
    "٢",
    "%00",
    "1%20",
    str(2**53),
    str(2**63),
    "9" * 1000,
    "9" * 5000,
]


def upload_several(client: Client, user: User, png: bytes, count: int) -> list[int]:
    return [client.upload(user.token, png).data["id"] for _ in range(count)]


# --- submit and get


def test_accepted_upload_has_its_fields(client: Client, jane: User, png: bytes) -> None:
    response = client.upload(jane.token, png, "holiday.png", {"scale_factor": "3"})

    assert response.status == 202
    assert response.message == "Image uploaded and queued for processing"
    data = response.data
    assert data.pop("id") >= 1
    assert data.pop("created_at") == data.pop("updated_at")
    assert data == {
        "original_filename": "holiday.png",
        "original_size": len(png),
        "original_size_human": f"{len(png)} B",
        "original_dimensions": None,
        "status": "pending",
        "scale_factor": 3,
        "target_width": None,
        "target_height": None,
        "api_request": True,
    }


@pytest.mark.parametrize(
    ("fields", "scale_factor", "target_width", "target_height"),
    [
        ({}, 2, None, None),
        ({"scale_factor": ""}, 2, None, None),
        ({"scale_factor": "4"}, 4, None, None),
        ({"target_width": "9"}, None, 9, None),
        ({"target_height": "24"}, None, None, 24),
        ({"target_width": "32", "target_height": "7"}, None, 32, 7),
        ({"scale_factor": "", "target_width": "16"}, None, 16, None),
    ],
)
def test_upload_response_repeats_the_options(
    client: Client,
    jane: User,
    png: bytes,
    fields: dict[str, str],
    scale_factor: int | None,
    target_width: int | None,
    target_height: int | None,
) -> None:
    data = client.upload(jane.token, png, fields=fields).data

    assert (data["scale_factor"], data["target_width"], data["target_height"]) == (
        scale_factor,
        target_width,
        target_height,
    )


def test_image_goes_from_pending_to_completed(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    path = f"/api/images/{image_id}"

    pending = client.get(path, token=jane.token).data
    worker.complete(image_id)
    completed = client.get(path, token=jane.token).data

    assert (pending["status"], pending["original_dimensions"], pending["progress"]) == ("pending", None, 0)
    assert pending["download_url"] is None
    assert (completed["status"], completed["progress"]) == ("completed", 100)
    assert (completed["original_dimensions"], completed["original_dimensions_formatted"]) == ("8x6", "8 x 6")
    assert (completed["upscaled_dimensions"], completed["upscaled_dimensions_formatted"]) == (
        "16x12",
        "16 x 12",
    )
    assert completed["error"] is None
    assert completed["created_at"] <= completed["updated_at"]
    assert jane.email not in str(completed)


def test_processing_image_has_its_dimensions(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    worker.begin(image_id)

    data = client.get(f"/api/images/{image_id}", token=jane.token).data

    assert (data["status"], data["original_dimensions"], data["upscaled_dimensions"]) == (
        "processing",
        "8x6",
        None,
    )


def test_failed_image_has_an_error(client: Client, jane: User, png: bytes, worker: FakeWorker) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    worker.fail(image_id)

    data = client.get(f"/api/images/{image_id}", token=jane.token).data

    assert (data["status"], data["error"]) == ("failed", "The image could not be read.")
    assert data["download_url"] is None


def test_concurrent_uploads_use_exactly_the_quota(server: Server, make_user: MakeUser, png: bytes) -> None:
    starter = make_user(plan="starter")

    def upload(_: int) -> int:
        with server.client() as client:
            return client.upload(starter.token, png).status

    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(upload, range(40)))

    assert sorted(statuses) == [202] * 25 + [403] * 15


# --- ids


@pytest.mark.parametrize("image_id", INVALID_IDS)
def test_invalid_id_responds_like_a_missing_image(client: Client, jane: User, image_id: str) -> None:
    missing = client.get("/api/images/9007199254740991", token=jane.token)
    for method, path in (
        ("GET", f"/api/images/{image_id}"),
        ("DELETE", f"/api/images/{image_id}"),
        ("GET", f"/api/images/{image_id}/download"),
    ):
        response = client.request(method, path, token=jane.token)
        assert (response.status, response.body) == (404, missing.body), path


def test_image_of_another_account_returns_404(
    client: Client, make_user: MakeUser, png: bytes, worker: FakeWorker
) -> None:
    """The responses are identical, headers included, and the image is unchanged."""
    jane, mallory = make_user(), make_user()
    image_id = client.upload(jane.token, png).data["id"]
    worker.complete(image_id)
    for method, suffix in (("GET", ""), ("GET", "/download"), ("DELETE", "")):
        of_jane = client.request(method, f"/api/images/{image_id}{suffix}", token=mallory.token)
        missing = client.request(method, f"/api/images/{image_id + 1000}{suffix}", token=mallory.token)

        assert of_jane.status == 404
        assert of_jane.body == missing.body
        assert _stable_headers(of_jane) == _stable_headers(missing)
    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 200
    assert client.get("/api/images", token=mallory.token).data == []


def _stable_headers(response: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers.items()
        if name.lower() not in {"x-request-id", "date"}
    }


# --- lists


def test_images_are_listed_newest_first_with_page_links(
    client: Client, jane: User, png: bytes, server: Server
) -> None:
    ids = upload_several(client, jane, png, 5)
    images = f"{server.settings.origin}/api/images"

    response = client.get("/api/images?page=2&per_page=2", token=jane.token)

    assert [image["id"] for image in response.data] == [ids[2], ids[1]]
    assert response.json["meta"] == {"current_page": 2, "last_page": 3, "per_page": 2, "total": 5}
    assert response.json["links"] == {
        "first": f"{images}?per_page=2&page=1",
        "last": f"{images}?per_page=2&page=3",
        "prev": f"{images}?per_page=2&page=1",
        "next": f"{images}?per_page=2&page=3",
    }


def test_page_links_lead_to_every_image_once(client: Client, jane: User, png: bytes) -> None:
    ids = upload_several(client, jane, png, 7)

    seen, link = [], "/api/images?per_page=3"
    while link:
        page = client.get(link, token=jane.token)
        seen += [image["id"] for image in page.data]
        link = page.json["links"]["next"]

    assert seen == ids[::-1]


def test_page_links_keep_the_filter(client: Client, jane: User, png: bytes, worker: FakeWorker) -> None:
    ids = upload_several(client, jane, png, 4)
    for image_id in ids[:3]:
        worker.complete(image_id)

    response = client.get("/api/images?status=completed&per_page=1&page=2", token=jane.token)

    assert [image["id"] for image in response.data] == [ids[1]]
    assert response.json["meta"]["total"] == 3
    for link in response.json["links"].values():
        query = parse_qs(urlsplit(link).query)
        assert (query["status"], query["per_page"]) == (["completed"], ["1"])
    assert [
        len(client.get(f"/api/images?status={status}", token=jane.token).data)
        for status in ("pending", "processing", "completed", "failed")
    ] == [1, 0, 3, 0]


def test_empty_list_has_one_page(client: Client, jane: User) -> None:
    response = client.get("/api/images", token=jane.token)

    assert response.data == []
    assert response.json["meta"] == {"current_page": 1, "last_page": 1, "per_page": 15, "total": 0}
    assert (response.json["links"]["prev"], response.json["links"]["next"]) == (None, None)


@pytest.mark.parametrize("page", [3, 1000, 2**53 - 1])
def test_page_past_the_end_is_empty_and_links_back(client: Client, jane: User, png: bytes, page: int) -> None:
    upload_several(client, jane, png, 2)

    response = client.get(f"/api/images?per_page=1&page={page}", token=jane.token)

    assert response.data == []
    assert response.json["meta"]["current_page"] == page
    assert response.json["links"]["prev"].endswith("page=2")
    assert response.json["links"]["next"] is None


@pytest.mark.parametrize("parameter", ["page", "per_page"])
@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "2%20",
        "%202",
        "+2",
        "%2B2",
        "2.0",
        "1e1",
        "0x2",
        "%D9%A2",
        "1_0",
        "",
        "x",
        "true",
        "9" * 5000,
        "null",
        "%00",
    ],
)
def test_page_number_must_be_plain_digits(client: Client, jane: User, parameter: str, value: str) -> None:
    response = client.get(f"/api/images?{parameter}={value}", token=jane.token)

    assert list(response.errors) == [parameter]


@pytest.mark.parametrize(
    "query", ["per_page=101", f"page={2**53}", f"page={2**63}", "status=done", "status=Pending", "status=All"]
)
def test_parameter_out_of_range_returns_422(client: Client, jane: User, query: str) -> None:
    response = client.get(f"/api/images?{query}", token=jane.token)

    assert list(response.errors) == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["status=all", "status=", "status=&page=1", ""])
def test_all_and_an_empty_status_list_all_images(client: Client, jane: User, png: bytes, query: str) -> None:
    uploaded = [client.upload(jane.token, png).json["data"]["id"] for _ in range(2)]

    listed = client.get(f"/api/images?{query}", token=jane.token).json

    assert [image["id"] for image in listed["data"]] == uploaded[::-1]
    assert listed["meta"]["total"] == 2
    assert ("status=all" in listed["links"]["first"]) is (query == "status=all")


@pytest.mark.parametrize(
    "query", ["page=1&page=1", "per_page=5&page=1&per_page=6", "status=pending&status=failed"]
)
def test_repeated_parameter_returns_422(client: Client, jane: User, query: str) -> None:
    response = client.get(f"/api/images?{query}", token=jane.token)

    ((field, messages),) = response.errors.items()
    assert messages == [f"The {field.replace('_', ' ')} field must be sent only once."]


def test_every_invalid_parameter_is_returned_at_once(client: Client, jane: User) -> None:
    response = client.get("/api/images?page=0&per_page=101&status=x", token=jane.token)

    assert response.errors == {
        "page": ["The page must be between 1 and 9007199254740991."],
        "per_page": ["The per page must be between 1 and 100."],
        "status": ["The status must be one of: all, pending, processing, completed, failed."],
    }


@pytest.mark.parametrize(
    "query", ["x=1", "x=1&x=2", "page[]=1", "PAGE=0", "&&=&", "%FF=%00", "user_id=1", "page%00=0"]
)
def test_unknown_parameter_is_ignored(client: Client, jane: User, png: bytes, query: str) -> None:
    ids = upload_several(client, jane, png, 1)

    response = client.get(f"/api/images?{query}", token=jane.token)

    assert [image["id"] for image in response.data] == ids


# --- download


def test_download_of_unfinished_image_returns_400(
    client: Client, jane: User, png: bytes, worker: FakeWorker
) -> None:
    ids = upload_several(client, jane, png, 3)
    worker.begin(ids[1])
    worker.fail(ids[2])

    responses = [client.get(f"/api/images/{image_id}/download", token=jane.token) for image_id in ids]

    assert [response.status for response in responses] == [400, 400, 400]
    assert [response.message for response in responses] == [
        "The image is still pending.",
        "The image is still processing.",
        "The image could not be processed, there is nothing to download.",
    ]


def test_completed_image_has_link_and_filename(
    client: Client, jane: User, worker: FakeWorker, gradient: MakeGradient
) -> None:
    image_id = client.upload(jane.token, gradient("BMP"), "photo.png").data["id"]
    worker.complete(image_id)

    data = client.get(f"/api/images/{image_id}/download", token=jane.token).data

    assert data["filename"] == "photo.bmp"
    assert client.get(data["download_url"]).status == 200


# --- delete


@pytest.mark.parametrize("state", ["pending", "processing", "completed", "failed"])
def test_deleted_image_is_gone_with_its_file(
    client: Client, jane: User, png: bytes, worker: FakeWorker, server: Server, state: str
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    link = None
    if state == "processing":
        worker.begin(image_id)
    elif state == "failed":
        worker.fail(image_id)
    elif state == "completed":
        worker.complete(image_id)
        link = client.get(f"/api/images/{image_id}", token=jane.token).data["download_url"]
    with server.services.database.reading() as unit:
        image = unit.images.get(image_id)
    assert image is not None

    response = client.delete(f"/api/images/{image_id}", token=jane.token)

    assert response.json == {"success": True, "message": "Image deleted successfully"}
    # Only an image that was not claimed is refunded.
    assert response.headers["X-RateLimit-Remaining"] == ("1000" if state == "pending" else "999")
    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 404
    assert client.delete(f"/api/images/{image_id}", token=jane.token).status == 404
    assert client.get("/api/images", token=jane.token).data == []
    assert not (server.settings.data / "files" / image.original_key).exists()
    if link is not None:
        assert client.get(link).status == 404


def test_image_ids_are_never_reused(client: Client, jane: User, png: bytes) -> None:
    (first,) = upload_several(client, jane, png, 1)
    client.delete(f"/api/images/{first}", token=jane.token)

    (second,) = upload_several(client, jane, png, 1)

    assert second > first
