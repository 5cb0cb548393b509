"""Accounts and tokens of a run."""

from __future__ import annotations

from run_kit import check_server, failures

from conformance.catalogue import requirements
from conformance.kit import Kit
from conformance.kit.callers import ANONYMOUS_REQUESTS
from conformance.options import Options
from conformance.runner import Exit
from independent.server import Server

ACCESS = tuple(
    one.id for one in requirements() if one.family in {"AUTH", "AUTHZ"} and one.profile != "extensions"
)


def kit_for(server: Server) -> Kit:
    return Kit(Options(base_url=server.base_url, token=server.tokens[0]))


def test_only_the_given_tokens_remain_after_a_run() -> None:
    with Server() as server:
        found = check_server(server, only=ACCESS)

        assert failures(found) == []
        assert set(server.tokens_by_secret) == set(server.tokens)


def test_core_stays_below_the_anonymous_limit() -> None:
    with Server(unauthenticated_per_hour=ANONYMOUS_REQUESTS) as server:
        found = check_server(server, profiles=("core",))

    assert failures(found) == []
    assert found.exit is Exit.CONFORMANT


def test_reached_anonymous_limit_is_inconclusive() -> None:
    with Server(unauthenticated_per_hour=0) as server:
        found = check_server(server, only=ACCESS, max_wait=1)

    assert found.exit is Exit.INCONCLUSIVE
    assert {str(result.verdict) for result in found.results} == {"pass", "inconclusive"}
    message = next(result.message for result in found.results if result.requirement.id == "AUTH-001")
    assert "Raise its limit" in message


def test_anonymous_requests_are_counted() -> None:
    with Server() as server:
        kit = kit_for(server)
        kit.callers.request_anonymously("GET", "/user")
        kit.callers.request_anonymously("GET", "/user", "Bearer nonsense")
        kit.owner.get("/user")
        kit.callers.anonymous.post("/auth/login", json={})

        assert kit.callers.anonymous_left == ANONYMOUS_REQUESTS - 3
        kit.close()


def test_second_run_uses_new_addresses() -> None:
    with Server() as server:
        addresses = [kit_for(server).accounts.create().sent["email"] for _ in range(2)]

    assert len(set(addresses)) == 2


def test_each_run_has_a_new_password() -> None:
    with Server() as server:
        passwords = {kit_for(server).accounts.password for _ in range(2)}

    assert len(passwords) == 2


def test_random_choices_do_not_depend_on_other_checks() -> None:
    with Server() as server:
        for seed in range(4):
            alone = check_server(server, only=("AUTH-005",), seed=seed).results[-1]
            among = check_server(server, only=("AUTH-001", "AUTH-002", "AUTH-005"), seed=seed).results[-1]

            assert [one.url for one in alone.exchanges] == [one.url for one in among.exchanges]
