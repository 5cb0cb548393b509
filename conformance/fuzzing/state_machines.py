"""Steps in any order, each answer compared with what the client was told so far."""

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
from conformance.verdicts import CheckFailed, Inconclusive, expect, expect_equal, retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client import Client, Response
    from conformance.kit import Kit

_ROUNDS, _STEPS = 12, 15
_MADE_IN_A_ROUND = 2
_TOLD_STEPS = 14  # of those that led to a fault: the ones before are hardly the reason
_RANKS = {"pending": 0, "processing": 1}
_FINAL = 2  # every other status is one that stays
# Steps choose with it among the things that there are: what there is differs from round to round, and Hypothesis
# wants to have the same choices when it repeats one.
_which = st.integers(0, 11)
_SELDOM = 4  # below it, what cannot be undone is done: else there would soon be nothing left to look at


@dataclass
class Model:
    """What the client knows; it lasts over all rounds, because images are scarce and waiting is long."""

    kit: Kit
    alive: dict[int, Any] = field(default_factory=dict)  # by id; as it was last told of
    gone: list[int] = field(default_factory=list)
    made: int = 0
    others: int | None = None  # how many were in the list besides
    steps: list[str] = field(default_factory=list)
    trouble: Exception | None = None  # the first that went wrong

    def ended(self, made_id: int) -> None:
        del self.alive[made_id]
        self.gone.append(made_id)


class Machine(RuleBasedStateMachine):
    """What all machines have in common. A rule does its step, or another one where there is nothing to do it with."""

    told: Model
    most_alive: int
    most_made: int

    def __init__(self) -> None:
        super().__init__()
        self.made_before = self.told.made

    @classmethod
    def ready(cls, told: Model) -> None:
        """Before the first step. Raises Skipped."""

    def make(self, which: int) -> None:
        raise NotImplementedError

    def _one(self, which: int) -> int | None:
        """The id of one that is alive; one is made if there is none, as long as there may be more."""
        told = self.told
        if not told.alive and self._may_make():
            self.make(which)
        return sorted(told.alive)[which % len(told.alive)] if told.alive else None

    def _gone(self, which: int) -> int | None:
        return self.told.gone[which % len(self.told.gone)] if self.told.gone else None

    def _may_make(self) -> bool:
        told = self.told
        here = told.made - self.made_before
        return len(told.alive) < self.most_alive and told.made < self.most_made and here < _MADE_IN_A_ROUND

    @contextmanager
    def _step(self, sentence: str) -> Iterator[None]:
        """Hypothesis repeats a round that failed, but the server is not what it was then: it fails at once."""
        if self.told.trouble is not None:
            raise self.told.trouble
        self.told.steps.append(sentence)
        try:
            yield
        except Exception as trouble:
            self.told.trouble = trouble
            raise

    def _ask(self, method: str, path: str) -> Response:
        return self.told.kit.owner.request(method, path)

    def _is_gone(self, *paths: str) -> None:
        for path in paths:
            self._ask("GET", path).expect(404, why="after its deletion")
        self._ask("DELETE", paths[0]).expect(404, why="for the second time")

    def _listed(self, where: str) -> list[dict[str, Any]]:
        """Those made here; what is gone is not in the list, which has the newest first."""
        told = self.told
        response = self._ask("GET", f"{where}?per_page=100").expect(200)
        ids = [item["id"] for item in response.data]
        missing, back = sorted(told.alive.keys() - set(ids)), sorted(set(told.gone) & set(ids))
        expect(not missing, f"{where} lacks {missing}, which nobody deleted.", expected=missing, actual=ids)
        expect(not back, f"{where} holds {back}, which are deleted.", expected="none of them", actual=ids)
        own = [item for item in response.data if item["id"] in told.alive]
        expect(len(own) == len(told.alive), f"{where} holds an item twice.", actual=ids)
        newest_first = sorted(own, key=sort_key, reverse=True)
        expect(
            own == newest_first,
            f"{where} is not in the order of newest first.",
            expected=[item["id"] for item in newest_first],
            actual=[item["id"] for item in own],
        )
        others = response.json["meta"]["total"] - len(told.alive)
        if told.others is not None and others != told.others:
            # Somebody else may have made or deleted something meanwhile: the list itself tells.
            retry(lambda: _counts_what_it_holds(told.kit, where))
        told.others = others
        return own


class Images(Machine):
    """Uploads, looks, lists, downloads and deletions."""

    most_alive, most_made = 3, 10

    @rule(which=_which)
    def make(self, which: int) -> None:
        if not self._may_make():
            return self.look(which)
        with self._step("send a picture"):
            data = self.told.kit.images.upload(make_sample("png"), {"scale_factor": 2})
            self.told.made += 1
            known = data["id"] in {*self.told.alive, *self.told.gone}
            expect(not known, f"A new image has the id of an earlier one: {data['id']}.")
            self.told.alive[data["id"]] = data
            self.told.steps[-1] += f" (image {data['id']})"
        return None

    @rule(which=_which)
    def look(self, which: int) -> None:
        image_id = self._one(which)
        if image_id is not None:
            with self._step(f"look at image {image_id}"):
                self._seen(self.told.kit.images.get(image_id))

    @rule(which=_which)
    def wait(self, which: int) -> None:
        image_id = self._one(which)
        if image_id is not None:
            with self._step(f"wait for image {image_id}"):
                self._seen(self.told.kit.images.wait(image_id)[0])

    @rule()
    def list(self) -> None:
        with self._step("list the images"):
            for image in self._listed("/images"):
                self._seen(image)

    @rule(which=_which)
    def download(self, which: int) -> None:
        image_id = self._one(which)
        if image_id is not None:
            with self._step(f"download image {image_id}"):
                status = self.told.alive[image_id]["status"]
                if status == "completed":
                    self.told.kit.images.download(image_id)
                else:
                    expected = (400,) if status == "failed" else (200, 400)
                    self._ask("GET", f"/images/{image_id}/download").expect(
                        *expected, why=f"when it was {status}"
                    )

    @rule(which=_which)
    def delete(self, which: int) -> None:
        image_id = self._one(which)
        if image_id is None or which >= _SELDOM:
            return self.list()
        with self._step(f"delete image {image_id}"):
            self.told.kit.images.delete(image_id).expect(200)
            self.told.ended(image_id)
        return None

    @rule(which=_which)
    def look_for_a_deleted_one(self, which: int) -> None:
        image_id = self._gone(which)
        if image_id is not None:
            with self._step(f"look for image {image_id}, which is deleted, and delete it again"):
                self._is_gone(f"/images/{image_id}", f"/images/{image_id}/download")

    def _seen(self, image: dict[str, Any]) -> None:
        before = self.told.alive[image["id"]]
        _forward(f"Image {image['id']}", before["status"], image["status"], TERMINAL)
        self.told.alive[image["id"]] = image


class Batches(Machine):
    """Batches made, looked at, cancelled and deleted."""

    most_alive, most_made = 2, 5

    @rule(which=_which)
    def make(self, which: int) -> None:
        if not self._may_make():
            return self.look(which)
        many = 1 + which % 3
        with self._step(f"send a batch of {many}"):
            data = self.told.kit.batches.create([make_sample("png")] * many, {"scale_factor": 2})
            self.told.made += 1
            expect_equal(data["total_images"], many, "`total_images` of a new batch")
            self.told.alive[data["id"]] = data
            self.told.steps[-1] += f" (batch {data['id']})"
        return None

    @rule(which=_which)
    def look(self, which: int) -> None:
        batch_id = self._one(which)
        if batch_id is not None:
            with self._step(f"look at batch {batch_id}"):
                self._seen(self._ask("GET", f"/batches/{batch_id}").expect(200).data)

    @rule(which=_which)
    def wait(self, which: int) -> None:
        batch_id = self._one(which)
        if batch_id is not None:
            with self._step(f"wait for batch {batch_id}"):
                self._seen(self.told.kit.batches.wait(batch_id)[0])

    @rule()
    def list(self) -> None:
        with self._step("list the batches"):
            for batch in self._listed("/batches"):
                self._seen(batch)

    @rule(which=_which)
    def cancel_or_delete(self, which: int) -> None:
        """The first for a batch at work, the second for one that has ended: which it may do between two looks."""
        batch_id = self._one(which)
        if batch_id is None or which >= _SELDOM:
            return self.list()
        with self._step(f"cancel or delete batch {batch_id}"):
            before = self.told.alive[batch_id]
            self._ask("DELETE", f"/batches/{batch_id}").expect(200)
            after = self._ask("GET", f"/batches/{batch_id}").expect(200, 404)
            if after.status == HTTPStatus.NOT_FOUND:
                return self.told.ended(batch_id)
            expect(
                before["status"] not in BATCH_TERMINAL,
                f"Batch {batch_id}, which was {before['status']!r}, is still there after its deletion.",
                expected=404,
                actual=after.status,
            )
            # Its last image may have been finished at that moment.
            expect(
                after.data["status"] in BATCH_TERMINAL,
                f"Batch {batch_id} is {after.data['status']!r} after a DELETE.",
                expected="cancelled",
                actual=after.data["status"],
            )
            self._seen(after.data)
        return None

    @rule(which=_which)
    def look_for_a_deleted_one(self, which: int) -> None:
        batch_id = self._gone(which)
        if batch_id is not None:
            with self._step(f"look for batch {batch_id}, which is deleted, and delete it again"):
                self._is_gone(f"/batches/{batch_id}")

    def _seen(self, batch: dict[str, Any]) -> None:
        before, name = self.told.alive[batch["id"]], f"Batch {batch['id']}"
        _forward(name, before["status"], batch["status"], BATCH_TERMINAL)
        expect_equal(batch["total_images"], before["total_images"], f"`total_images` of {name.lower()}")
        for counter in ("completed_images", "failed_images", "progress"):
            expect(
                batch[counter] >= before[counter],
                f"{name}: `{counter}` went back from {before[counter]} to {batch[counter]}.",
                expected=f"at least {before[counter]}",
                actual=batch[counter],
            )
        finished = batch["completed_images"] + batch["failed_images"]
        total = batch["total_images"]
        expect(finished <= total, f"{name} counts {finished} finished images of {total}.")
        self.told.alive[batch["id"]] = batch


class Tokens(Machine):
    """Logins, and the ends of the tokens that came of them; never of any other one."""

    most_alive = 2
    # Requests without a valid token are scarce, and logins and ended tokens are such: ten an hour may be all.
    most_made = most_refusals = 3

    @classmethod
    def ready(cls, told: Model) -> None:
        told.kit.callers.credentials  # noqa: B018  # raises Skipped

    @rule(which=_which)
    def make(self, which: int) -> None:
        if not self._may_make():
            return self.use(which)
        with self._step("log in"):
            kit, before = self.told.kit, self._ids()
            email, password = kit.callers.credentials
            response = kit.accounts.log_in(email, password)
            token = response.expect(200, why="with the right password").data["token"]
            self.told.made += 1
            new = self._ids() - before
            if len(new) != 1:
                raise Inconclusive(
                    f"After one login there are {len(new)} more tokens in the list of --token. Is --email of the same "
                    "account, and is nobody else using it?"
                )
            self.told.alive[new.pop()] = token
        return None

    @rule(which=_which)
    def use(self, which: int) -> None:
        token_id = self._one(which)
        if token_id is not None:
            with self._step(f"use token {token_id}"):
                self._caller(token_id).get("/user").expect(200, why="with a token that nobody ended")

    @rule(which=_which)
    def log_out(self, which: int) -> None:
        token_id = self._one(which)
        if token_id is not None:
            with self._step(f"log out token {token_id}"):
                caller = self._caller(token_id)
                self._has_ended(token_id, caller, caller.post("/auth/logout"))

    @rule(which=_which)
    def revoke(self, which: int) -> None:
        token_id = self._one(which)
        if token_id is not None:
            with self._step(f"revoke token {token_id}"):
                caller = self._caller(token_id)
                by = caller if which % 2 else self.told.kit.owner
                self._has_ended(token_id, caller, by.delete(f"/user/tokens/{token_id}"))

    @rule()
    def list(self) -> None:
        with self._step("list the tokens"):
            self._ids()

    @rule(which=_which)
    def revoke_an_ended_one(self, which: int) -> None:
        token_id = self._gone(which)
        if token_id is not None:
            with self._step(f"revoke token {token_id} again"):
                self._ask("DELETE", f"/user/tokens/{token_id}").expect(404, why="for the second time")

    def _caller(self, token_id: int) -> Client:
        return self.told.kit.callers.with_token(self.told.alive[token_id])

    def _has_ended(self, token_id: int, caller: Client, response: Response) -> None:
        response.expect(200)
        self.told.ended(token_id)
        if len(self.told.gone) <= self.most_refusals:
            refused = caller.get("/user", wait_on_429=False)
            refused.expect(401, 429, why="with a token that was ended")

    def _ids(self) -> set[int]:
        """Of all tokens in the list: those alive are there, those ended are not."""
        data = self._ask("GET", "/user/tokens").expect(200).data
        ids = {token["id"] for token in data["tokens"]}
        missing, back = sorted(self.told.alive.keys() - ids), sorted(ids & set(self.told.gone))
        expect(not missing, f"The token list lacks {missing}, which nobody ended.", actual=sorted(ids))
        expect(not back, f"The token list holds {back}, which were ended.", actual=sorted(ids))
        expect_equal(data["count"], len(data["tokens"]), "`count` of the token list")
        return ids


def run_machine(kit: Kit, machine: type[Machine]) -> None:
    """Rounds of steps. Raises Broken with the steps that led to the fault; Inconclusive and Skipped as they come."""
    told = Model(kit)
    machine.ready(told)
    # A class of its own: Hypothesis makes an object of it for each round, with nothing handed over.
    bound: type[RuleBasedStateMachine] = type(machine.__name__, (machine,), {"told": told})
    chosen = settings(
        max_examples=_ROUNDS, stateful_step_count=_STEPS, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), print_blob=False, verbosity=Verbosity.quiet,
    )  # fmt: skip
    set_hypothesis_home_dir(hypothesis_cache.folder())
    try:
        run_state_machine_as_test(seed(kit.options.seed)(bound), settings=chosen)
    except Exception:
        if told.trouble is None:
            raise
        raise _with_steps(told.trouble, told.steps) from told.trouble


def _with_steps(trouble: Exception, steps: list[str]) -> Exception:
    if not isinstance(trouble, CheckFailed):
        return trouble
    runs = [(step, len(list(same))) for step, same in groupby(steps)]
    told = [step if count == 1 else f"{step} ({count} times)" for step, count in runs]
    story = "; ".join(f"{number}. {step}" for number, step in enumerate(told[-_TOLD_STEPS:], 1))
    sentence = f"{trouble} The last steps: {story}."
    return CheckFailed(sentence, expected=trouble.expected, actual=trouble.actual)


def _forward(name: str, before: str, after: str, terminal: frozenset[str]) -> None:
    stays = before in terminal
    holds = after == before if stays else _RANKS.get(after, _FINAL) >= _RANKS.get(before, _FINAL)
    expect(
        holds,
        f"{name} was {before!r} and is {after!r} now.",
        expected=before if stays else f"{before} or what comes after it",
        actual=after,
    )


def _counts_what_it_holds(kit: Kit, where: str) -> None:
    total, held = fetch_page(kit, where)["meta"]["total"], len(fetch_all(kit, where))
    if held < MAX_PER_PAGE * MAX_PAGES:
        expect_equal(total, held, f"`meta.total` of {where}, by the items of all its pages")
