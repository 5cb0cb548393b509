"""/images: send, follow, list, download, delete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from gradients import MakeGradient
    from tests.handlers.conftest import Client, MakePerson, Person, Reply, Server, Work

NO_IDS = [
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


def upload_several(client: Client, person: Person, png: bytes, count: int) -> list[int]:
    return [client.upload(person.token, png).data["id"] for _ in range(count)]


# --- send and follow


def test_an_upload_is_accepted_with_what_is_known_of_it(client: Client, jane: Person, png: bytes) -> None:
    reply = client.upload(jane.token, png, "holiday.png", {"scale_factor": "3"})

    assert reply.status == 202
    assert reply.message == "Image uploaded and queued for processing"
    data = reply.data
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
def test_the_answer_repeats_what_was_asked_for(
    client: Client,
    jane: Person,
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


def test_an_image_is_followed_from_pending_to_completed(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    path = f"/api/images/{image_id}"

    pending = client.get(path, token=jane.token).data
    work.complete(image_id)
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


def test_an_image_at_work_shows_its_dimensions(client: Client, jane: Person, png: bytes, work: Work) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    work.begin(image_id)

    data = client.get(f"/api/images/{image_id}", token=jane.token).data

    assert (data["status"], data["original_dimensions"], data["upscaled_dimensions"]) == (
        "processing",
        "8x6",
        None,
    )


def test_a_failed_image_says_why(client: Client, jane: Person, png: bytes, work: Work) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    work.fail(image_id)

    data = client.get(f"/api/images/{image_id}", token=jane.token).data

    assert (data["status"], data["error"]) == ("failed", "The picture could not be read.")
    assert data["download_url"] is None


def test_uploads_at_once_take_exactly_what_the_quota_has(
    server: Server, person: MakePerson, png: bytes
) -> None:
    starter = person(plan="starter")

    def upload(_: int) -> int:
        with server.client() as client:
            return client.upload(starter.token, png).status

    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(upload, range(40)))

    assert sorted(statuses) == [202] * 25 + [403] * 15


# --- ids


@pytest.mark.parametrize("image_id", NO_IDS)
def test_what_is_no_id_is_answered_like_a_missing_one(client: Client, jane: Person, image_id: str) -> None:
    missing = client.get("/api/images/9007199254740991", token=jane.token)
    for method, path in (
        ("GET", f"/api/images/{image_id}"),
        ("DELETE", f"/api/images/{image_id}"),
        ("GET", f"/api/images/{image_id}/download"),
    ):
        reply = client.request(method, path, token=jane.token)
        assert (reply.status, reply.body) == (404, missing.body), path


def test_anothers_image_is_answered_like_a_missing_one(
    client: Client, person: MakePerson, png: bytes, work: Work
) -> None:
    """To the letter, headers included, whatever the operation, and nothing happens to it."""
    jane, mallory = person(), person()
    image_id = client.upload(jane.token, png).data["id"]
    work.complete(image_id)
    for method, suffix in (("GET", ""), ("GET", "/download"), ("DELETE", "")):
        of_jane = client.request(method, f"/api/images/{image_id}{suffix}", token=mallory.token)
        missing = client.request(method, f"/api/images/{image_id + 1000}{suffix}", token=mallory.token)

        assert of_jane.status == 404
        assert of_jane.body == missing.body
        assert _without_names(of_jane) == _without_names(missing)
    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 200
    assert client.get("/api/images", token=mallory.token).data == []


def _without_names(reply: Reply) -> dict[str, str]:
    return {
        name: value for name, value in reply.headers.items() if name.lower() not in {"x-request-id", "date"}
    }


# --- lists


def test_a_list_has_the_newest_first_and_says_where_it_stands(
    client: Client, jane: Person, png: bytes, server: Server
) -> None:
    ids = upload_several(client, jane, png, 5)
    images = f"{server.settings.origin}/api/images"

    reply = client.get("/api/images?page=2&per_page=2", token=jane.token)

    assert [image["id"] for image in reply.data] == [ids[2], ids[1]]
    assert reply.json["meta"] == {"current_page": 2, "last_page": 3, "per_page": 2, "total": 5}
    assert reply.json["links"] == {
        "first": f"{images}?per_page=2&page=1",
        "last": f"{images}?per_page=2&page=3",
        "prev": f"{images}?per_page=2&page=1",
        "next": f"{images}?per_page=2&page=3",
    }


def test_the_links_lead_over_every_image_once(client: Client, jane: Person, png: bytes) -> None:
    ids = upload_several(client, jane, png, 7)

    seen, link = [], "/api/images?per_page=3"
    while link:
        page = client.get(link, token=jane.token)
        seen += [image["id"] for image in page.data]
        link = page.json["links"]["next"]

    assert seen == ids[::-1]


def test_a_filter_is_kept_in_the_links(client: Client, jane: Person, png: bytes, work: Work) -> None:
    ids = upload_several(client, jane, png, 4)
    for image_id in ids[:3]:
        work.complete(image_id)

    reply = client.get("/api/images?status=completed&per_page=1&page=2", token=jane.token)

    assert [image["id"] for image in reply.data] == [ids[1]]
    assert reply.json["meta"]["total"] == 3
    for link in reply.json["links"].values():
        query = parse_qs(urlsplit(link).query)
        assert (query["status"], query["per_page"]) == (["completed"], ["1"])
    assert [
        len(client.get(f"/api/images?status={status}", token=jane.token).data)
        for status in ("pending", "processing", "completed", "failed")
    ] == [1, 0, 3, 0]


def test_an_empty_list_has_one_page(client: Client, jane: Person) -> None:
    reply = client.get("/api/images", token=jane.token)

    assert reply.data == []
    assert reply.json["meta"] == {"current_page": 1, "last_page": 1, "per_page": 15, "total": 0}
    assert (reply.json["links"]["prev"], reply.json["links"]["next"]) == (None, None)


@pytest.mark.parametrize("page", [3, 1000, 2**53 - 1])
def test_past_the_end_a_page_is_empty_and_leads_back(
    client: Client, jane: Person, png: bytes, page: int
) -> None:
    upload_several(client, jane, png, 2)

    reply = client.get(f"/api/images?per_page=1&page={page}", token=jane.token)

    assert reply.data == []
    assert reply.json["meta"]["current_page"] == page
    assert reply.json["links"]["prev"].endswith("page=2")
    assert reply.json["links"]["next"] is None


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
def test_a_number_in_the_query_is_plain(client: Client, jane: Person, parameter: str, value: str) -> None:
    reply = client.get(f"/api/images?{parameter}={value}", token=jane.token)

    assert list(reply.errors) == [parameter]


@pytest.mark.parametrize(
    "query", ["per_page=101", f"page={2**53}", f"page={2**63}", "status=done", "status=", "status=Pending"]
)
def test_a_value_out_of_its_range_is_refused(client: Client, jane: Person, query: str) -> None:
    reply = client.get(f"/api/images?{query}", token=jane.token)

    assert list(reply.errors) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    "query", ["page=1&page=1", "per_page=5&page=1&per_page=6", "status=pending&status=failed"]
)
def test_a_parameter_given_twice_is_refused(client: Client, jane: Person, query: str) -> None:
    reply = client.get(f"/api/images?{query}", token=jane.token)

    ((field, sentences),) = reply.errors.items()
    assert sentences == [f"The {field.replace('_', ' ')} field must be given only once."]


def test_every_wrong_parameter_is_named_at_once(client: Client, jane: Person) -> None:
    reply = client.get("/api/images?page=0&per_page=101&status=x", token=jane.token)

    assert reply.errors == {
        "page": ["The page must be between 1 and 9007199254740991."],
        "per_page": ["The per page must be between 1 and 100."],
        "status": ["The status must be one of: pending, processing, completed, failed."],
    }


@pytest.mark.parametrize(
    "query", ["x=1", "x=1&x=2", "page[]=1", "PAGE=0", "&&=&", "%FF=%00", "user_id=1", "page%00=0"]
)
def test_an_unknown_parameter_is_ignored(client: Client, jane: Person, png: bytes, query: str) -> None:
    ids = upload_several(client, jane, png, 1)

    reply = client.get(f"/api/images?{query}", token=jane.token)

    assert [image["id"] for image in reply.data] == ids


# --- download


def test_the_file_of_an_unfinished_image_cannot_be_downloaded(
    client: Client, jane: Person, png: bytes, work: Work
) -> None:
    ids = upload_several(client, jane, png, 3)
    work.begin(ids[1])
    work.fail(ids[2])

    replies = [client.get(f"/api/images/{image_id}/download", token=jane.token) for image_id in ids]

    assert [reply.status for reply in replies] == [400, 400, 400]
    assert [reply.message for reply in replies] == [
        "The image is still pending.",
        "The image is still processing.",
        "The image could not be processed, there is nothing to download.",
    ]


def test_a_completed_image_has_a_link_and_a_name(
    client: Client, jane: Person, work: Work, gradient: MakeGradient
) -> None:
    image_id = client.upload(jane.token, gradient("BMP"), "photo.png").data["id"]
    work.complete(image_id)

    data = client.get(f"/api/images/{image_id}/download", token=jane.token).data

    assert data["filename"] == "photo.bmp"
    assert client.get(data["download_url"]).status == 200


# --- delete


@pytest.mark.parametrize("state", ["pending", "processing", "completed", "failed"])
def test_a_deleted_image_is_gone_everywhere(
    client: Client, jane: Person, png: bytes, work: Work, server: Server, state: str
) -> None:
    image_id = client.upload(jane.token, png).data["id"]
    link = None
    if state == "processing":
        work.begin(image_id)
    elif state == "failed":
        work.fail(image_id)
    elif state == "completed":
        work.complete(image_id)
        link = client.get(f"/api/images/{image_id}", token=jane.token).data["download_url"]
    with server.services.database.reading() as unit:
        image = unit.images.get(image_id)
    assert image is not None

    reply = client.delete(f"/api/images/{image_id}", token=jane.token)

    assert reply.json == {"success": True, "message": "Image deleted successfully"}
    # Only an image that nobody had begun gives its quota back.
    assert reply.headers["X-RateLimit-Remaining"] == ("1000" if state == "pending" else "999")
    assert client.get(f"/api/images/{image_id}", token=jane.token).status == 404
    assert client.delete(f"/api/images/{image_id}", token=jane.token).status == 404
    assert client.get("/api/images", token=jane.token).data == []
    assert not (server.settings.data / "files" / image.original_key).exists()
    if link is not None:
        assert client.get(link).status == 404


def test_an_id_is_never_given_twice(client: Client, jane: Person, png: bytes) -> None:
    (first,) = upload_several(client, jane, png, 1)
    client.delete(f"/api/images/{first}", token=jane.token)

    (second,) = upload_several(client, jane, png, 1)

    assert second > first
