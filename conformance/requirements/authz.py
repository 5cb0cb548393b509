"""Checks of the separation of two accounts, and of the abilities of tokens.

A server may number the items of each account separately. Before the second account deletes an item of the first, the
check makes sure that the second account has no item with the same id.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.access_checks import UNUSED_ID, comparable_body
from conformance.catalogue import check
from conformance.images.samples import make_sample
from conformance.verdicts import (
    Inconclusive,
    Skipped,
    expect,
    expect_absent,
    expect_at_most,
    expect_equal,
    retry,
)

if TYPE_CHECKING:
    from conformance.client import Client, Response
    from conformance.kit import Kit


@check("AUTHZ-001")
def check_two_accounts(kit: Kit) -> None:
    """Check that the two tokens belong to two accounts."""
    first, second = (client.get("/user").expect(200).data for client in (kit.owner, kit.callers.other))
    for name in ("id", "email"):
        expect(
            first[name] != second[name],
            f"Both tokens return an account with the same `{name}`. Use tokens of two accounts.",
            expected="two accounts",
            actual=first[name],
        )


@check("AUTHZ-002")
def check_image_is_private(kit: Kit) -> None:
    """Check that the second account gets the same 404 for an image of the first as for a missing one."""
    image = kit.images.completed_png().image
    _expect_hidden(kit, "GET", "/images", image["id"], image["original_filename"])


@check("AUTHZ-003")
def check_download_is_private(kit: Kit) -> None:
    """Check that the second account gets the same 404 for the download of a result of the first as for a
    missing one.
    """
    image = kit.images.completed_png().image
    _expect_foreign(kit, f"/images/{image['id']}", image["original_filename"])
    _expect_hidden(kit, "GET", "/images", image["id"], image["original_filename"], "/download")


@check("AUTHZ-004")
def check_image_deletion_is_denied(kit: Kit) -> None:
    """Check that a DELETE by the second account returns 404, equal to that of a missing id.

    The image must then be completed and downloadable. Raise Inconclusive if the second account has the same
    id.
    """
    image = kit.images.get(kit.images.upload(make_sample("png"))["id"])
    image_id = image["id"]
    _expect_foreign(kit, f"/images/{image_id}", image["original_filename"])
    _expect_hidden(kit, "DELETE", "/images", image_id, image["original_filename"])
    kit.owner.get(f"/images/{image_id}").expect(200, why="after another account tried to delete it")
    after, _ = kit.images.wait(image_id)
    expect_equal(after["status"], "completed", "The status of an image that another account tried to delete")
    kit.images.download(image_id)


@check("AUTHZ-005")
def check_image_list_is_private(kit: Kit) -> None:
    """Check that the second account's lists have no image with the name of the first's.

    They must have as many items as their total, at most 100.
    """
    name = kit.images.completed_png().image["original_filename"]
    for query in ({"per_page": 100}, {"per_page": 100, "status": "completed"}):
        response = kit.callers.other.get("/images", params=query).permitted().expect(200)
        names = [image["original_filename"] for image in response.data]
        expect_absent(names, name, "The image list of another account")
        total = response.json["meta"]["total"]
        expect_equal(len(names), min(total, 100), f"The number of images in a list of {total}")


@check("AUTHZ-006")
def check_batch_is_private(kit: Kit) -> None:
    """Check that the second account can neither get nor list a batch of the first."""
    batch = _create_batch(kit)
    _expect_hidden(kit, "GET", "/batches", batch["id"], batch["name"])
    batches = kit.callers.other.get("/batches", params={"per_page": 100}).permitted().data
    expect_absent([one["name"] for one in batches], batch["name"], "The batch list of another account")


@check("AUTHZ-007")
def check_batch_deletion_is_denied(kit: Kit) -> None:
    """Check that a DELETE by the second account returns 404, equal to that of a missing id.

    The batch of the first account must then complete with its two images. Raise Inconclusive if the second
    account has a batch with the same id.
    """
    batch = _create_batch(kit)
    _expect_foreign(kit, f"/batches/{batch['id']}", batch["name"])
    _expect_hidden(kit, "DELETE", "/batches", batch["id"], batch["name"])
    after, _ = kit.batches.wait(batch["id"])
    what = "of a batch that another account tried to delete"
    expect_equal(after["status"], "completed", f"The status {what}")
    expect_equal(len(after["images"]), 2, f"The number of images {what}")


@check("AUTHZ-008")
def check_token_revocation_is_denied(kit: Kit) -> None:
    """Check that the second account gets the same 404 for a token of another account as for a missing one.

    The token must stay valid. Raise Inconclusive if the second account has a token with the same id.
    """
    client = kit.accounts.create(device_name=f"{kit.tag}-kept").client
    token = client.get("/user/tokens").expect(200).data["tokens"][0]
    own = kit.callers.other.get("/user/tokens").expect(200).data["tokens"]
    if any(one["id"] == token["id"] and one["name"] != token["name"] for one in own):
        raise Inconclusive("The second account has a token with the same id, which must not be revoked.")
    _expect_hidden(kit, "DELETE", "/user/tokens", token["id"], token["name"])
    client.get("/user").expect(200, why="after another account tried to revoke the token")


@check("AUTHZ-009")
def check_token_list_is_private(kit: Kit) -> None:
    """Check that the second account's list has no token of another account."""
    label = f"{kit.tag}-{kit.random.getrandbits(32):08x}"
    kit.accounts.create(device_name=label)
    tokens = kit.callers.other.get("/user/tokens").expect(200).data["tokens"]
    expect_absent([token["name"] for token in tokens], label, "The token list of another account")


@check("AUTHZ-010")
def check_upload_uses_own_quota(kit: Kit) -> None:
    """Check that an upload of the second account uses only its own quota."""

    def compare_used() -> None:
        """Upload an image of the second account.

        Fail if the first account's quota is used, or the second's is not.
        """
        before = _used(kit.owner), _used(kit.callers.other)
        sample = make_sample("png").renamed(f"{kit.tag}-second.png")
        response = kit.images.try_upload(sample, client=kit.callers.other)
        response.permitted().expect(202, why="with a valid image")
        after = _used(kit.owner), _used(kit.callers.other)
        expect_at_most(after[0], before[0], "`used` of the first account after an upload of the second")
        expect(
            after[1] > before[1],
            "An upload of the second account does not use its quota.",
            expected=before[1] + 1,
            actual=after[1],
        )

    retry(compare_used)


@check("AUTHZ-011")
def check_abilities(kit: Kit) -> None:
    """Check that two tokens with one ability each can do only what it allows."""
    reader = _token_with(kit, "images:read")
    reader.get("/images").expect(200, why="with `images:read`")
    for path in ("/user", "/user/tokens", "/usage", "/subscription"):
        reader.get(path).expect(403, why="without `user:read`")
    reader.delete(f"/user/tokens/{UNUSED_ID}").expect(403, why="without `user:read`")
    for path in ("/images", "/batches"):
        reader.delete(f"{path}/{UNUSED_ID}").expect(403, why="without `images:delete`")
    kit.images.try_upload(make_sample("png"), client=reader).expect(403, why="without `images:write`")
    kit.batches.try_create([make_sample("png")], client=reader).expect(403, why="without `images:write`")
    user = _token_with(kit, "user:read")
    user.get("/user").expect(200, why="with `user:read`")
    for path in ("/images", "/batches"):
        user.get(path).expect(403, why="without `images:read`")


@check("AUTHZ-012")
def check_abilities_cannot_be_extended(kit: Kit) -> None:
    """Check that a token with ``user:read`` gets 422 on ``abilities`` when it creates a token with
    ``images:delete``.
    """
    form = {"name": kit.tag, "abilities": ["images:delete"]}
    response = kit.accounts.track_token(_token_with(kit, "user:read").post("/user/tokens", json=form))
    response.expect_rejected("abilities", why="for an ability that the token lacks")


def _token_with(kit: Kit, ability: str) -> Client:
    """Return a client with a new token that has one ability. Raise Skipped if the server cannot create one."""
    form = {"name": f"{kit.tag}-{ability}", "abilities": [ability]}
    response = kit.accounts.track_token(kit.owner.post("/user/tokens", json=form))
    if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        raise Skipped("The server has no POST /user/tokens, which is an extension of Uprez.")
    return kit.callers.with_token(response.expect(201).data["token"])


def _expect_hidden(kit: Kit, method: str, path: str, item_id: int, name: str, suffix: str = "") -> None:
    """Raise CheckFailed unless the second account gets equal 404 responses for the item and for a missing
    one.
    """
    missing = kit.callers.other.request(method, f"{path}/{UNUSED_ID}{suffix}").permitted()
    missing.expect(404, why="for an id that does not exist")
    response = kit.callers.other.request(method, f"{path}/{item_id}{suffix}")
    if (method, suffix) == ("GET", ""):
        _expect_other_item(response, path, name)
    response.expect(404, why="for an item of another account")
    expect(
        comparable_body(response, item_id) == comparable_body(missing, UNUSED_ID),
        f"{method} {path}/{{id}}{suffix} distinguishes an id of another account from one that does not exist.",
        expected=comparable_body(missing, UNUSED_ID),
        actual=comparable_body(response, item_id),
    )


def _expect_foreign(kit: Kit, item_path: str, name: str) -> None:
    """Raise Inconclusive if the second account has an item of its own with this id."""
    _expect_other_item(kit.callers.other.get(item_path), item_path.rpartition("/")[0], name)


def _expect_other_item(response: Response, path: str, name: str) -> None:
    """Raise Inconclusive if the response is a 200 without the name, and so has another item."""
    if response.status == HTTPStatus.OK and name not in response.raw.text:
        raise Inconclusive(
            f"The second account has an item with the same id in {path}, because the server numbers the items of each "
            "account separately. Use a --token-b of an account with fewer items."
        )


def _create_batch(kit: Kit) -> dict[str, Any]:
    """Return a new batch of two images, read by its id.

    Raise Inconclusive if creating it returns 403, CheckFailed for any other status than 202.
    """
    samples = [make_sample("png"), make_sample("png").renamed("second.png")]
    response = kit.batches.try_create(samples, {"name": f"{kit.tag}-first"}).permitted()
    return kit.batches.get(response.expect(202, why="with valid images").data["id"])


def _used(client: Client) -> int:
    """Return the images used this month, from GET /usage."""
    used: int = client.get("/usage").expect(200).data["image_uploads"]["used"]
    return used
