"""Where the contract leaves a choice, a server that chooses otherwise than Uprez passes."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

import pytest
from trial import complaints, trial

from conformance.catalogue import requirements
from conformance.runner import Exit
from conformance.verdicts import Verdict
from independent.forms import Part
from independent.records import Account, Response, Sizing, StoredBatch, StoredImage
from independent.server import Caller, Refused, Server
from mutants.auth import TakesAddressesAsVerified

# Those that ask about lists, batches, the quota and links; the others are asked in test_servers.py.
ASKED = tuple(one.id for one in requirements() if one.family in {"PAGE", "BATCH", "LIM", "DEL", "URL"})


class Unlimited(Server):
    def usage_data(self, account: Account) -> dict[str, Any]:
        nothing = {"limit": None, "remaining": None, "unlimited": True, "exceeded": False, "percentage": 0}
        return super().usage_data(account) | nothing

    def quota_headers(self, account: Account) -> dict[str, str]:
        return {"X-RateLimit-Limit": "unlimited", "X-RateLimit-Remaining": "unlimited"}


class LinksBehindAProxy(Server):
    """It does not know the name that it is asked under."""

    def links(self, path: str, query: list[tuple[str, str]], number: int, last: int) -> dict[str, Any]:
        made = super().links(path, query, number, last)
        return {
            name: link and link.replace(self.base_url, "https://inner.example/v1")
            for name, link in made.items()
        }


class WholeSeconds(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


class NothingWhereNothingIs(Server):
    """Fields that have no value are left out."""

    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return {name: value for name, value in super().batch_data(batch).items() if value is not None}


class NothingGivenBack(Server):
    def give_back(self, image: StoredImage) -> None:
        pass


class IdsInNoOrder(Server):
    def new_id(self, kind: str) -> int:
        return secrets.randbelow(2**50) + 1


class NamesOfFewLetters(Server):
    def clean(self, filename: str) -> str:
        cleaned = super().clean(filename)
        return "".join(letter if letter.isascii() and letter not in '";' else "_" for letter in cleaned)


class FilesElsewhere(Server):
    """The link leads on to where the file is."""

    def fetch_result(self, request: Any, number: int) -> Response:
        if request.query_string.endswith("&here"):
            request.environ["QUERY_STRING"] = request.query_string.removesuffix("&here")
            return super().fetch_result(request, number)
        return Response(302, {"Location": f"{request.path}?{request.query_string}&here"}, b"")


class AsksForLengths(Server):
    """As some do that stand in front of others."""

    def body(self, request: Any, cap: int, wanted_type: str) -> bytes:
        if request.content_length < 0:
            raise Refused(411, "How long is it?")
        return super().body(request, cap, wanted_type)


class Shared(Server):
    """Now and then somebody else sends a picture to the same account."""

    def count_with_token(self, caller: Caller) -> None:
        super().count_with_token(caller)
        stored = next(iter(self.images.values()), None)
        if stored and self.with_token % 29 == 0:
            with self.lock:
                part = Part("image", "other.png", stored.content)
                self.take(caller.account, 1)
                self.store_image(caller.account, part, self.decode(stored.content), Sizing(scale_factor=2))


@pytest.mark.parametrize(
    "server",
    [
        Unlimited,
        LinksBehindAProxy,
        WholeSeconds,
        NothingWhereNothingIs,
        NothingGivenBack,
        IdsInNoOrder,
        NamesOfFewLetters,
        FilesElsewhere,
        Shared,
    ],
)
def test_a_server_that_chooses_otherwise_passes(server: type[Server]) -> None:
    with server() as started:
        found = trial(started, only=ASKED)

    assert complaints(found) == []


def test_what_asks_for_a_length_may_not_be_the_server() -> None:
    with AsksForLengths() as server:
        found = trial(server, only=("ENV-031",))

    assert [result.verdict for result in found.results] == [Verdict.INCONCLUSIVE]


def test_who_has_registered_may_log_in_at_once() -> None:
    with TakesAddressesAsVerified() as server:
        found = trial(server, profiles=("accounts",))

    assert [result for result in found.results if result.verdict is Verdict.FAIL] == []


@pytest.mark.parametrize("quota", [0, 9])
def test_a_quota_that_is_used_up_is_no_fault_of_the_server(quota: int) -> None:
    with Server(quota=quota) as server:
        found = trial(server, only=ASKED)

    assert [result for result in found.results if result.verdict is Verdict.FAIL] == []
    assert found.exit is Exit.INCONCLUSIVE


def test_a_plan_without_batches_is_no_fault_of_the_server() -> None:
    with Server() as server:
        next(iter(server.accounts.values())).plan = "free"
        found = trial(server, profiles=("batches",))

    assert {result.verdict for result in found.results} == {Verdict.INCONCLUSIVE}
