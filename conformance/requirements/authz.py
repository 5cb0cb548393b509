"""Does one account keep its things from another? Asked with a token of a second account.

Before the second account deletes anything it is made sure that the id is not one of its own things: a server may
count the ids of each account by themselves.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import UNUSED_ID, comparable_body
from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.verdicts import Inconclusive, Skipped, expect, expect_equal, retry

if TYPE_CHECKING:
    from conformance.client import Client, Response
    from conformance.kit import Kit


@check("AUTHZ-001")
def two_tokens_open_two_accounts(kit: Kit) -> None:
    first, second = (client.get("/user").expect(200).data for client in (kit.owner, kit.callers.other))
    for name in ("id", "email"):
        expect(
            first[name] != second[name],
            f"Both tokens open an account with the same `{name}`. Are --token and --token-b of two accounts?",
            expected="two accounts",
            actual=first[name],
        )


@check("AUTHZ-002")
def an_image_is_kept_from_others(kit: Kit) -> None:
    done = kit.images.completed_png()
    _is_like_none(kit, "GET", "/images", done.image["id"], done.image["original_filename"])


@check("AUTHZ-003")
def a_result_is_kept_from_others(kit: Kit) -> None:
    image = kit.images.completed_png().image
    _is_not_its_own(kit, f"/images/{image['id']}", image["original_filename"])
    _is_like_none(kit, "GET", "/images", image["id"], image["original_filename"], "/download")


@check("AUTHZ-004")
def an_image_is_not_deleted_by_others(kit: Kit) -> None:
    sent = make_sample("png")
    image = kit.images.get(kit.images.upload(sent)["id"])
    image_id = image["id"]
    _is_not_its_own(kit, f"/images/{image_id}", image["original_filename"])
    _is_like_none(kit, "DELETE", "/images", image_id, image["original_filename"])
    kit.owner.get(f"/images/{image_id}").expect(200, why="after somebody else was refused to delete it")
    after, _ = kit.images.wait(image_id)
    expect_equal(
        after["status"], "completed", "The status of an image that somebody else was refused to delete"
    )
    kit.images.download(image_id)


@check("AUTHZ-005")
def images_are_listed_for_their_owner_only(kit: Kit) -> None:
    image = kit.images.completed_png().image
    for query in ({"per_page": 100}, {"per_page": 100, "status": "completed"}):
        response = _permitted(kit.callers.other.get("/images", params=query)).expect(200)
        names = [one["original_filename"] for one in response.data]
        expect(
            image["original_filename"] not in names,
            "The list of images shows an image of another account.",
            expected="none of another account",
            actual=image["original_filename"],
        )
        total = response.json["meta"]["total"]
        expect_equal(len(names), min(total, 100), f"The number of images in a list of {total}")


@check("AUTHZ-006")
def a_batch_is_kept_from_others(kit: Kit) -> None:
    batch = _batch(kit)
    _is_like_none(kit, "GET", "/batches", batch["id"], batch["name"])
    names = [
        one["name"] for one in _permitted(kit.callers.other.get("/batches", params={"per_page": 100})).data
    ]
    expect(
        batch["name"] not in names,
        "The list of batches shows a batch of another account.",
        actual=batch["name"],
    )


@check("AUTHZ-007")
def a_batch_is_not_deleted_by_others(kit: Kit) -> None:
    batch = _batch(kit)
    _is_not_its_own(kit, f"/batches/{batch['id']}", batch["name"])
    _is_like_none(kit, "DELETE", "/batches", batch["id"], batch["name"])
    after, _ = kit.batches.wait(batch["id"])
    what = "of a batch that somebody else was refused to delete"
    expect_equal(after["status"], "completed", f"The status {what}")
    expect_equal(len(after["images"]), 2, f"The number of images {what}")


@check("AUTHZ-008")
def a_token_is_not_revoked_by_others(kit: Kit) -> None:
    newcomer = kit.accounts.create(device_name=f"{kit.tag}-kept")
    token = newcomer.client.get("/user/tokens").expect(200).data["tokens"][0]
    own = kit.callers.other.get("/user/tokens").expect(200).data["tokens"]
    if any(one["id"] == token["id"] and one["name"] != token["name"] for one in own):
        raise Inconclusive("The second account has a token with the same id, which must not be revoked.")
    _is_like_none(kit, "DELETE", "/user/tokens", token["id"], token["name"])
    newcomer.client.get("/user").expect(200, why="after somebody else was refused to revoke the token")


@check("AUTHZ-009")
def tokens_are_listed_for_their_owner_only(kit: Kit) -> None:
    label = f"{kit.tag}-{kit.random.getrandbits(32):08x}"
    kit.accounts.create(device_name=label)
    names = [token["name"] for token in kit.callers.other.get("/user/tokens").expect(200).data["tokens"]]
    expect(label not in names, "The list of tokens shows a token of another account.", actual=label)


@check("AUTHZ-010")
def an_upload_is_paid_by_its_sender(kit: Kit) -> None:
    def look() -> None:
        before = _used(kit.owner), _used(kit.callers.other)
        response = kit.images.try_upload(
            make_sample("png").renamed(f"{kit.tag}-second.png"), client=kit.callers.other
        )
        _permitted(response).expect(202, why="with a good picture")
        after = _used(kit.owner), _used(kit.callers.other)
        expect(
            after[0] <= before[0],
            "An upload of the second account was counted for the first.",
            expected=before[0],
            actual=after[0],
        )
        expect(
            after[1] > before[1],
            "An upload of the second account was not counted for it.",
            expected=before[1] + 1,
            actual=after[1],
        )

    retry(look)


@check("AUTHZ-011")
def a_token_does_no_more_than_it_may(kit: Kit) -> None:
    looking = _token_for(kit, "images:read")
    looking.get("/images").expect(200, why="with a token for it")
    for path in ("/user", "/user/tokens", "/usage", "/subscription"):
        looking.get(path).expect(403, why="with a token without `user:read`")
    looking.delete(f"/user/tokens/{UNUSED_ID}").expect(403, why="with a token without `user:read`")
    for folder in ("/images", "/batches"):
        looking.delete(f"{folder}/{UNUSED_ID}").expect(403, why="with a token without `images:delete`")
    uploads = (
        kit.images.try_upload(make_sample("png"), client=looking),
        kit.batches.try_create([make_sample("png")], client=looking),
    )
    for response in uploads:
        response.expect(403, why="with a token without `images:write`")
    reading = _token_for(kit, "user:read")
    reading.get("/user").expect(200, why="with a token for it")
    for path in ("/images", "/batches"):
        reading.get(path).expect(403, why="with a token without `images:read`")


@check("AUTHZ-012")
def a_token_cannot_grant_what_it_lacks(kit: Kit) -> None:
    asked = {"name": kit.tag, "abilities": ["images:delete"]}
    response = kit.accounts.track_token(_token_for(kit, "user:read").post("/user/tokens", json=asked))
    errors = response.expect(422, why="for an ability that the token lacks").errors
    expect(
        "abilities" in errors,
        "The 422 does not name `abilities`.",
        expected="abilities",
        actual=sorted(errors),
    )


def _token_for(kit: Kit, ability: str) -> Client:
    """A further token of the caller's account that may do one thing. Raises Skipped where there are none."""
    asked = {"name": f"{kit.tag}-{ability}", "abilities": [ability]}
    response = kit.accounts.track_token(kit.owner.post("/user/tokens", json=asked))
    if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        raise Skipped("The server has no POST /user/tokens, which is an addition of Uprez.")
    return kit.callers.with_token(response.expect(201).data["token"])


def _is_like_none(kit: Kit, method: str, folder: str, its_id: int, name: str, rest: str = "") -> None:
    """The second account is told of the thing just what it is told of one that never was."""
    none = _permitted(kit.callers.other.request(method, f"{folder}/{UNUSED_ID}{rest}"))
    none.expect(404, why="for an id that was never given")
    response = kit.callers.other.request(method, f"{folder}/{its_id}{rest}")
    if response.status == HTTPStatus.OK and name not in response.raw.text and (method, rest) == ("GET", ""):
        raise Inconclusive(_counted_by_themselves(folder))
    response.expect(404, why="for what belongs to somebody else")
    expect(
        comparable_body(response, its_id) == comparable_body(none, UNUSED_ID),
        f"{method} {folder}/{{id}}{rest} is answered otherwise for an id of somebody else than for none at all.",
        expected=comparable_body(none, UNUSED_ID),
        actual=comparable_body(response, its_id),
    )


def _is_not_its_own(kit: Kit, path: str, name: str) -> None:
    """Raises Inconclusive where the id is one of the second account's, who may do with that what they like."""
    response = kit.callers.other.get(path)
    if response.status == HTTPStatus.OK and name not in response.raw.text:
        raise Inconclusive(_counted_by_themselves(path.rpartition("/")[0]))


def _counted_by_themselves(folder: str) -> str:
    return (
        f"The second account has something of its own under the same id in {folder}: the server counts each account's "
        "ids by themselves. Take as --token-b one of an account that has less."
    )


def _permitted(response: Response) -> Response:
    if response.status == HTTPStatus.FORBIDDEN:
        raise Inconclusive(
            f"{response.request_line} is refused (403). --token and --token-b have to be of accounts that are verified and on a "
            "plan with API access and batches, and to have some of their monthly quota left."
        )
    return response


def _batch(kit: Kit) -> dict[str, Any]:
    pictures = [make_sample("png"), make_sample("png").renamed("second.png")]
    accepted = (
        _permitted(kit.batches.try_create(pictures, {"name": f"{kit.tag}-first"}))
        .expect(202, why="with good pictures")
        .data
    )
    batch: dict[str, Any] = kit.batches.get(accepted["id"])
    return batch


def _used(client: Client) -> int:
    used: int = client.get("/usage").expect(200).data["image_uploads"]["used"]
    return used
