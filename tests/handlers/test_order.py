"""When several things are wrong with one request, the first in the contract's list is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from domain import accounts, quota, subscriptions, tokens
from domain.plans import Plans
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.services import Services
    from tests.handlers.conftest import Client, InProcess, MakePerson, Person, Server, Wire

UPLOAD = "/api/images/upscale"
TOO_LARGE = 12 * 1024 * 1024


def test_an_unknown_route_and_a_wrong_method_come_before_the_token(client: Client) -> None:
    assert client.post("/api/nowhere", data=b"x" * 100).status == 404
    assert client.request("PUT", UPLOAD, data=b"x" * 100).status == 405
    assert client.request("PUT", "/api/images/1").status == 405


def test_the_token_comes_before_size_and_type(wire: Wire) -> None:
    reply = wire.ask(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nContent-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert reply.status == 401


@pytest.mark.parametrize("changes", [{"abilities": ()}, {"verified": False}, {"plan": "free"}])
def test_a_refusal_comes_before_size_and_type(
    wire: Wire, person: MakePerson, changes: dict[str, object]
) -> None:
    token = person(**changes).token  # type: ignore[arg-type]

    reply = wire.ask(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert reply.status == 403


def test_of_several_refusals_the_first_in_the_contracts_order_is_said(
    client: Client, server: Server, person: MakePerson, png: bytes
) -> None:
    """Ability, address, subscription, plan, quota: what is put right makes room for the next."""
    services = server.services
    weak = person(abilities=["user:read"], verified=False, plan="starter")
    said = []

    def ask(token: str) -> None:
        reply = client.upload(token, png)
        said.append((reply.status, reply.message))

    subscriptions.set_status(services, weak.account, SubscriptionStatus.LAPSED)
    quota.set_limit(services, weak.account, 0)
    ask(weak.token)
    with services.database.writing() as work:
        strong = tokens.issue(work, services.random_source, weak.account, "tests", services.clock.now())
        work.commit()
    ask(strong)
    with services.database.writing() as work:
        work.accounts.verify_email(weak.account.id, services.clock.now())
        work.commit()
    ask(strong)
    subscriptions.change_plan(services, accounts.named(services, weak.email), "free")
    ask(strong)
    subscriptions.change_plan(services, accounts.named(services, weak.email), "starter")
    ask(strong)
    quota.set_limit(services, weak.account, 1)
    ask(strong)

    assert said == [
        (403, "This token does not have the ability that this operation needs."),
        (403, "Your email address is not verified."),
        (403, "Your subscription has lapsed."),
        (403, "Your plan does not include API access."),
        (403, "Your monthly image quota is exceeded."),
        (202, "Image uploaded and queued for processing"),
    ]


# Free costs nothing, and cannot lapse; a paid plan without API access can, and that is said first.
def test_a_lapsed_subscription_comes_before_a_plan_without_api_access(
    client: Client, server: Server, person: MakePerson, in_process: Callable[[Services], InProcess]
) -> None:
    services = server.services
    jane = person(plan="starter")
    plans = Plans([replace(services.plans["starter"], features=())])
    app = in_process(replace(services, plans=plans))
    bearer = {"Authorization": f"Bearer {jane.token}"}
    subscriptions.set_status(services, jane.account, SubscriptionStatus.LAPSED)

    lapsed = app.ask("GET", "/api/images", bearer)
    subscriptions.set_status(services, jane.account, SubscriptionStatus.ACTIVE)
    paid = app.ask("GET", "/api/images", bearer)

    assert lapsed.message == "Your subscription has lapsed."
    assert paid.message == "Your plan does not include API access."


def test_size_comes_before_type(wire: Wire, jane: Person) -> None:
    reply = wire.ask(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nAuthorization: Bearer {jane.token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert reply.status == 413


def test_the_type_comes_before_the_form(client: Client, jane: Person) -> None:
    reply = client.post(
        UPLOAD, token=jane.token, data=b"{broken", headers={"Content-Type": "application/json"}
    )

    assert reply.status == 415


def test_the_type_comes_before_the_size_of_a_body_without_length(client: Client, jane: Person) -> None:
    """Its size is only known while it is read."""
    reply = client.post(
        UPLOAD, token=jane.token, data=iter([b"x" * 65536] * 200), headers={"Content-Type": "text/plain"}
    )

    assert reply.status == 415


def test_the_form_comes_before_the_fields(client: Client, jane: Person) -> None:
    reply = client.post(
        UPLOAD,
        token=jane.token,
        data=b'--b\r\nContent-Disposition: form-data; name="scale_factor"\r\n\r\n9\r\ngarbage',
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert reply.status == 400


def test_the_fields_come_before_the_quota(client: Client, person: MakePerson, png: bytes) -> None:
    """Only a request that is otherwise right can be over the quota."""
    starter = person(plan="starter")
    for used in range(1, 26):
        reply = client.upload(starter.token, png)
        assert reply.status == 202
        assert reply.headers["X-RateLimit-Remaining"] == str(25 - used)

    wrong = client.upload(starter.token, png, fields={"scale_factor": "9"})
    right = client.upload(starter.token, png)

    assert wrong.status == 422
    assert (right.status, right.message) == (403, "Your monthly image quota is exceeded.")
    for reply in (wrong, right):
        assert reply.headers["X-RateLimit-Limit"] == "25"
        assert reply.headers["X-RateLimit-Remaining"] == "0"
    assert client.get("/api/images", token=starter.token).json["meta"]["total"] == 25


def test_a_refused_upload_leaves_no_file_behind(
    client: Client, person: MakePerson, server: Server, png: bytes
) -> None:
    folder = server.settings.data / "files" / "originals"
    starter = person(plan="starter")
    for _ in range(25):
        client.upload(starter.token, png)
    before = set(folder.iterdir())

    assert client.upload(starter.token, png).status == 403
    assert client.upload(starter.token, b"no picture").status == 422

    assert set(folder.iterdir()) == before


def test_a_wrong_parameter_comes_after_the_refusal(client: Client, person: MakePerson) -> None:
    assert client.get("/api/images?page=0").status == 401
    assert client.get("/api/images?page=0", token=person(plan="free").token).status == 403
    assert client.get("/api/images?page=0", token=person().token).status == 422
