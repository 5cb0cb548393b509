"""State machines: random steps, each response compared with a model of the server's state."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from conformance.fuzzing import hypothesis_cache
from conformance.images.samples import make_sample
from conformance.kit.batches import BATCH_TERMINAL
from conformance.kit.images import TERMINAL
from conformance.listings import MAX_PAGES, MAX_PER_PAGE, fetch_all, fetch_page
from conformance.timestamps import sort_key
from conformance.verdicts import (
    CheckFailed,
    Inconclusive,
    expect,
    expect_at_least,
    expect_at_most,
    expect_equal,
    expect_in,
    expect_sorted,
    retry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Client, Response
    from conformance.kit import Kit
    from conformance.kit.collection import Collection

_ROUNDS, _STEPS = 12, 15
_MAX_MADE_PER_ROUND = 2
_MAX_SHOWN_STEPS = 14  # before a failure; earlier steps rarely cause it
_STATUS_ORDER = {"pending": 0, "processing": 1}
_FINAL_ORDER = 2  # of every other status, which does not change any more
# The index by which a step picks an item. The items differ between rounds, but Hypothesis needs the same choices when
# it repeats one.
_which = st.integers(0, 11)
_RARE = 4  # below this index a step deletes, so that most items stay


@dataclass
class Model:
    """The expected state of the server. It lasts over all rounds, because uploads cost quota and time."""

    kit: Kit
    alive: dict[int, Any] = field(default_factory=dict)  # by id, as last seen
    gone: list[int] = field(default_factory=list)
    made: int = 0
    foreign: int | None = None  # number of other items in the list
    steps: list[str] = field(default_factory=list)
    failure: Exception | None = None  # of the first failed step

    def mark_gone(self, made_id: int) -> None:
        """Move an id from the existing to the deleted items. Raise KeyError if it does not exist."""
        del self.alive[made_id]
        self.gone.append(made_id)


class Machine(RuleBasedStateMachine):
    """The base of all machines. A rule does another step if there is no item for its own.

    Hypothesis sorts rules by name: a renamed rule changes the steps of every seed.
    """

    model: Model
    max_alive: int
    max_made: int

    def __init__(self) -> None:
        super().__init__()
        self.made_before = self.model.made

    @classmethod
    def prepare(cls, model: Model) -> None:
        """Prepare the first step. Raise Skipped if the options do not allow the machine."""

    def make(self, which: int) -> None:
        """Create an item through the API and add it to the model; subclasses implement it."""
        raise NotImplementedError

    def _pick_alive(self, which: int) -> int | None:
        """Return the id of an existing item; create one, as a step, if there is none and the limits allow it.

        Return None if there is none and no more may be made.
        """
        model = self.model
        if not model.alive and self._can_make():
            self.make(which)
        return sorted(model.alive)[which % len(model.alive)] if model.alive else None

    def _pick_gone(self, which: int) -> int | None:
        """Return the id of a deleted item; None if there is none."""
        return self.model.gone[which % len(self.model.gone)] if self.model.gone else None

    def _can_make(self) -> bool:
        """Return whether the limits of existing items, of the run and of this round allow another item."""
        model = self.model
        here = model.made - self.made_before
        return len(model.alive) < self.max_alive and model.made < self.max_made and here < _MAX_MADE_PER_ROUND

    @contextmanager
    def _step(self, description: str) -> Iterator[None]:
        """Record a step in the model, and the first exception in it as the failure.

        Raise that failure at once in all later steps: Hypothesis repeats the round, but the server has
        changed.
        """
        if self.model.failure is not None:
            raise self.model.failure
        self.model.steps.append(description)
        try:
            yield
        except Exception as failure:
            self.model.failure = failure
            raise

    def _request(self, method: str, path: str) -> Response:
        """Send a request with the run's token."""
        return self.model.kit.owner.request(method, path)

    def _expect_gone(self, *paths: str) -> None:
        """Raise CheckFailed unless GET of each path and a DELETE of the first one return 404."""
        for path in paths:
            self._request("GET", path).expect(404, why="after its deletion")
        self._request("DELETE", paths[0]).expect(404, why="for the second time")

    def _listed(self, where: str) -> list[dict[str, Any]]:
        """Return the existing items of this run from the first page of 100 of the list.

        Raise CheckFailed if one is missing or listed twice, a deleted one is listed, they are not newest
        first, or the total changed and disagrees with the items of all pages. Store the number of other items
        in the model.
        """
        model = self.model
        response = self._request("GET", f"{where}?per_page=100").expect(200)
        ids = [item["id"] for item in response.data]
        missing, reappeared = sorted(model.alive.keys() - set(ids)), sorted(set(model.gone) & set(ids))
        expect(not missing, f"{where} lacks {missing}, which were not deleted.", expected=missing, actual=ids)
        expect(not reappeared, f"{where} contains {reappeared}, which are deleted.", actual=ids)
        own = [item for item in response.data if item["id"] in model.alive]
        expect(len(own) == len(model.alive), f"{where} holds an item twice.", actual=ids)
        expect_sorted(own, sort_key, where)
        foreign = response.json["meta"]["total"] - len(model.alive)
        if model.foreign is not None and foreign != model.foreign:
            # Another client may have created or deleted items: compare the total with the list itself.
            retry(lambda: _expect_total(model.kit, where))
        model.foreign = foreign
        return own


class Items(Machine):
    """The rules for images and batches."""

    kind: str
    path: str
    paths_of_deleted: tuple[str, ...]  # with the placeholder {id}

    @property
    def collection(self) -> Collection:
        """Return the kit's operations on images or on batches."""
        kit = self.model.kit
        return kit.images if self.path == "/images" else kit.batches

    @rule(which=_which)
    def load(self, which: int) -> None:
        """GET an item and compare it with the model; do nothing if there is none."""
        item_id = self._pick_alive(which)
        if item_id is not None:
            with self._step(f"load {self.kind} {item_id}"):
                self._update(self.collection.get(item_id))

    @rule(which=_which)
    def wait(self, which: int) -> None:
        """Wait for the final status of an item and compare it with the model; do nothing if there is none."""
        item_id = self._pick_alive(which)
        if item_id is not None:
            with self._step(f"wait for {self.kind} {item_id}"):
                self._update(self.collection.wait(item_id)[0])

    @rule()
    def list(self) -> None:
        """List the items and compare each of this run with the model."""
        with self._step(f"list {self.path}"):
            for item in self._listed(self.path):
                self._update(item)

    @rule(which=_which)
    def load_deleted(self, which: int) -> None:
        """Expect 404 for GET and DELETE of a deleted item; do nothing if there is none."""
        item_id = self._pick_gone(which)
        if item_id is not None:
            with self._step(f"load and delete the deleted {self.kind} {item_id}"):
                self._expect_gone(*(path.format(id=item_id) for path in self.paths_of_deleted))

    def _update(self, item: dict[str, Any]) -> None:
        """Raise CheckFailed if the item contradicts its last state; otherwise store it in the model."""
        raise NotImplementedError


class Images(Items):
    """Uploads, requests, lists, downloads and deletions of images."""

    kind, path, paths_of_deleted = "image", "/images", ("/images/{id}", "/images/{id}/download")
    max_alive, max_made = 3, 10

    @rule(which=_which)
    def make(self, which: int) -> None:
        """Upload a small PNG at factor 2, or load an image if the limits allow no more.

        Raise CheckFailed if its id is that of an earlier image.
        """
        if not self._can_make():
            return self.load(which)
        with self._step("upload an image"):
            data = self.model.kit.images.upload(make_sample("png"), {"scale_factor": 2})
            self.model.made += 1
            known = data["id"] in {*self.model.alive, *self.model.gone}
            expect(not known, f"A new image has the id of an earlier one: {data['id']}.")
            self.model.alive[data["id"]] = data
            self.model.steps[-1] += f" (image {data['id']})"
        return None

    @rule(which=_which)
    def download(self, which: int) -> None:
        """Request the download of an image; do nothing if there is none.

        Expect the file if it was last seen completed, 400 if failed, and 200 or 400 otherwise.
        """
        image_id = self._pick_alive(which)
        if image_id is not None:
            with self._step(f"download image {image_id}"):
                status = self.model.alive[image_id]["status"]
                if status == "completed":
                    self.model.kit.images.download(image_id)
                else:
                    expected = (400,) if status == "failed" else (200, 400)
                    self._request("GET", f"/images/{image_id}/download").expect(
                        *expected, why=f"when it was {status}"
                    )

    @rule(which=_which)
    def delete(self, which: int) -> None:
        """Delete an image and expect 200, for a third of the choices; otherwise list the images."""
        image_id = self._pick_alive(which)
        if image_id is None or which >= _RARE:
            return self.list()
        with self._step(f"delete image {image_id}"):
            self.model.kit.images.delete(image_id).expect(200)
            self.model.mark_gone(image_id)
        return None

    def _update(self, image: dict[str, Any]) -> None:
        """Raise CheckFailed if the status went back or changed after its end; otherwise store the image."""
        before = self.model.alive[image["id"]]
        _expect_forward(f"Image {image['id']}", before["status"], image["status"], TERMINAL)
        self.model.alive[image["id"]] = image


class Batches(Items):
    """Creations, requests, cancellations and deletions of batches."""

    kind, path, paths_of_deleted = "batch", "/batches", ("/batches/{id}",)
    max_alive, max_made = 2, 5

    @rule(which=_which)
    def make(self, which: int) -> None:
        """Create a batch of one to three images, or load a batch if the limits allow no more.

        Raise CheckFailed if `total_images` is not the number of sent images.
        """
        if not self._can_make():
            return self.load(which)
        many = 1 + which % 3
        with self._step(f"create a batch of {many}"):
            data = self.model.kit.batches.create([make_sample("png")] * many, {"scale_factor": 2})
            self.model.made += 1
            expect_equal(data["total_images"], many, "`total_images` of a new batch")
            self.model.alive[data["id"]] = data
            self.model.steps[-1] += f" (batch {data['id']})"
        return None

    @rule(which=_which)
    def cancel_or_delete(self, which: int) -> None:
        """DELETE a batch, for a third of the choices, and expect 200; otherwise list the batches.

        A GET must then return 404, or a final status if the batch was last seen running: the first DELETE
        only cancels it.
        """
        batch_id = self._pick_alive(which)
        if batch_id is None or which >= _RARE:
            return self.list()
        with self._step(f"cancel or delete batch {batch_id}"):
            before = self.model.alive[batch_id]
            self._request("DELETE", f"/batches/{batch_id}").expect(200)
            after = self._request("GET", f"/batches/{batch_id}").expect(200, 404)
            if after.status == HTTPStatus.NOT_FOUND:
                return self.model.mark_gone(batch_id)
            expect(
                before["status"] not in BATCH_TERMINAL,
                f"Batch {batch_id}, which was {before['status']!r}, is still there after its deletion.",
                expected=404,
                actual=after.status,
            )
            # Its last image may have finished just before.
            expect_in(after.data["status"], BATCH_TERMINAL, f"The status of batch {batch_id} after a DELETE")
            self._update(after.data)
        return None

    def _update(self, batch: dict[str, Any]) -> None:
        """Raise CheckFailed if the batch contradicts its last state; otherwise store it in the model.

        Its status and counters must not go back, `total_images` must stay, and not more images may be
        finished.
        """
        before, name = self.model.alive[batch["id"]], f"Batch {batch['id']}"
        _expect_forward(name, before["status"], batch["status"], BATCH_TERMINAL)
        expect_equal(batch["total_images"], before["total_images"], f"`total_images` of {name.lower()}")
        for counter in ("completed_images", "failed_images", "progress"):
            expect_at_least(batch[counter], before[counter], f"{name}: `{counter}`")
        finished = batch["completed_images"] + batch["failed_images"]
        total = batch["total_images"]
        expect_at_most(finished, total, f"The number of finished images of {name.lower()}")
        self.model.alive[batch["id"]] = batch


class Tokens(Machine):
    """Logins, and logouts and revocations of their tokens only."""

    max_alive = 2
    # Logins and requests with revoked tokens count as anonymous, and a server may allow ten of them an hour.
    max_made = max_rejections = 3

    @classmethod
    def prepare(cls, model: Model) -> None:
        """Raise Skipped without --email and --password. No request is sent."""
        model.kit.callers.credentials  # noqa: B018  # raises Skipped

    @rule(which=_which)
    def make(self, which: int) -> None:
        """Log in and find the id of the new token in the list, or use a token if the limits allow no more.

        Raise CheckFailed if the login does not return 200, and Inconclusive unless the list has exactly one
        more token.
        """
        if not self._can_make():
            return self.use(which)
        with self._step("log in"):
            kit, before = self.model.kit, self._ids()
            email, password = kit.callers.credentials
            response = kit.accounts.log_in(email, password)
            token = response.expect(200, why="with the right password").data["token"]
            self.model.made += 1
            new = self._ids() - before
            if len(new) != 1:
                raise Inconclusive(
                    f"After one login the list of --token has {len(new)} more tokens. Does --email belong to the same "
                    "account, and is no other client using it?"
                )
            self.model.alive[new.pop()] = token
        return None

    @rule(which=_which)
    def use(self, which: int) -> None:
        """Expect 200 for GET /user with a token that was not revoked; do nothing if there is none."""
        token_id = self._pick_alive(which)
        if token_id is not None:
            with self._step(f"use token {token_id}"):
                self._caller(token_id).get("/user").expect(200, why="with a token that was not revoked")

    @rule(which=_which)
    def log_out(self, which: int) -> None:
        """Log out a token and expect that it has ended; do nothing if there is none."""
        token_id = self._pick_alive(which)
        if token_id is not None:
            with self._step(f"log out token {token_id}"):
                caller = self._caller(token_id)
                self._expect_ended(token_id, caller, caller.post("/auth/logout"))

    @rule(which=_which)
    def revoke(self, which: int) -> None:
        """Revoke a token, with itself or with --token, and expect that it has ended.

        Do nothing if there is none.
        """
        token_id = self._pick_alive(which)
        if token_id is not None:
            with self._step(f"revoke token {token_id}"):
                caller = self._caller(token_id)
                by = caller if which % 2 else self.model.kit.owner
                self._expect_ended(token_id, caller, by.delete(f"/user/tokens/{token_id}"))

    @rule()
    def list(self) -> None:
        """List the tokens and compare the list with the model."""
        with self._step("list the tokens"):
            self._ids()

    @rule(which=_which)
    def revoke_again(self, which: int) -> None:
        """Expect 404 for the second revocation of a token; do nothing if there is none."""
        token_id = self._pick_gone(which)
        if token_id is not None:
            with self._step(f"revoke token {token_id} again"):
                self._request("DELETE", f"/user/tokens/{token_id}").expect(404, why="for the second time")

    def _caller(self, token_id: int) -> Client:
        """Return a client with this token."""
        return self.model.kit.callers.with_token(self.model.alive[token_id])

    def _expect_ended(self, token_id: int, caller: Client, response: Response) -> None:
        """Raise CheckFailed unless ``response`` is 200 and the token is then rejected; mark it as gone.

        A 429 counts as rejected. Only the first three tokens are tried again, as servers limit such requests.
        """
        response.expect(200)
        self.model.mark_gone(token_id)
        if len(self.model.gone) <= self.max_rejections:
            rejected = caller.get("/user", wait_on_429=False)
            rejected.expect(401, 429, why="with a revoked token")

    def _ids(self) -> set[int]:
        """Return the ids of all tokens in the list.

        Raise CheckFailed if a valid one is missing, a revoked one is listed, or `count` is not their number.
        """
        data = self._request("GET", "/user/tokens").expect(200).data
        ids = {token["id"] for token in data["tokens"]}
        missing, reappeared = sorted(self.model.alive.keys() - ids), sorted(ids & set(self.model.gone))
        expect(not missing, f"The token list lacks {missing}, which were not revoked.", actual=sorted(ids))
        expect(not reappeared, f"The token list holds {reappeared}, which were revoked.", actual=sorted(ids))
        expect_equal(data["count"], len(data["tokens"]), "`count` of the token list")
        return ids


def run_machine(kit: Kit, machine: type[Machine]) -> None:
    """Run up to 12 rounds of 15 random steps, which the seed of the options makes repeatable.

    Raise CheckFailed with the last steps, or the Inconclusive or Skipped of a step. Its items remain for the
    clean-up.
    """
    model = Model(kit)
    machine.prepare(model)
    # A new class, because Hypothesis creates an object for each round without arguments.
    bound: type[RuleBasedStateMachine] = type(machine.__name__, (machine,), {"model": model})
    options = settings(
        max_examples=_ROUNDS, stateful_step_count=_STEPS, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), print_blob=False, verbosity=Verbosity.quiet,
    )  # fmt: skip
    set_hypothesis_home_dir(hypothesis_cache.folder())
    try:
        run_state_machine_as_test(seed(kit.options.seed)(bound), settings=options)
    except Exception:
        if model.failure is None:
            raise
        raise _with_steps(model.failure, model.steps) from model.failure


def _with_steps(failure: Exception, steps: list[str]) -> Exception:
    """Return a CheckFailed with the last 14 different steps in its message; another exception unchanged.

    Equal steps in a row are counted as one. Images of the failure are left out.
    """
    if not isinstance(failure, CheckFailed):
        return failure
    runs = [(step, len(list(same))) for step, same in groupby(steps)]
    model = [step if count == 1 else f"{step} ({count} times)" for step, count in runs]
    summary = "; ".join(f"{number}. {step}" for number, step in enumerate(model[-_MAX_SHOWN_STEPS:], 1))
    message = f"{failure} Last steps: {summary}."
    return CheckFailed(message, expected=failure.expected, actual=failure.actual)


def _expect_forward(name: str, before: str, after: str, terminal: frozenset[str]) -> None:
    """Raise CheckFailed if a status went back, or changed after a final one.

    Every status except pending and processing counts as an end, also an unknown one.
    """
    stays = before in terminal
    holds = (
        after == before
        if stays
        else _STATUS_ORDER.get(after, _FINAL_ORDER) >= _STATUS_ORDER.get(before, _FINAL_ORDER)
    )
    expect(
        holds,
        f"{name} was {before!r} and is {after!r} now.",
        expected=before if stays else f"{before} or a later status",
        actual=after,
    )


def _expect_total(kit: Kit, where: str) -> None:
    """Raise CheckFailed unless `meta.total` is the number of items on all pages.

    A list of a thousand or more items is not compared.
    """
    total, held = fetch_page(kit, where)["meta"]["total"], len(fetch_all(kit, where))
    if held < MAX_PER_PAGE * MAX_PAGES:
        expect_equal(total, held, f"`meta.total` of {where}, by the items of all its pages")
