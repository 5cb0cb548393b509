"""Order of checks: a request with several problems gets the first error in the contract's list."""

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
    from tests.handlers.conftest import Client, InProcessClient, MakeUser, RawConnection, Server, User

UPLOAD = "/api/images/upscale"
TOO_LARGE = 12 * 1024 * 1024


def test_route_and_method_are_checked_before_the_token(client: Client) -> None:
    assert client.post("/api/nowhere", data=b"x" * 100).status == 404
    assert client.request("PUT", UPLOAD, data=b"x" * 100).status == 405
    assert client.request("PUT", "/api/images/1").status == 405


def test_token_is_checked_before_size_and_type(connection: RawConnection) -> None:
    response = connection.request(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nContent-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert response.status == 401


@pytest.mark.parametrize("changes", [{"abilities": ()}, {"verified": False}, {"plan": "free"}])
def test_authorization_is_checked_before_size_and_type(
    connection: RawConnection, make_user: MakeUser, changes: dict[str, object]
) -> None:
    token = make_user(**changes).token  # type: ignore[arg-type]

    response = connection.request(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert response.status == 403


def test_denials_follow_the_order_of_the_contract(
    client: Client, server: Server, make_user: MakeUser, png: bytes
) -> None:
    """The order is ability, email, subscription, plan, quota. Each step repairs one of them."""
    services = server.services
    weak = make_user(abilities=["user:read"], verified=False, plan="starter")
    denials = []

    def upload(token: str) -> None:
        response = client.upload(token, png)
        denials.append((response.status, response.message))

    subscriptions.set_status(services, weak.account, SubscriptionStatus.LAPSED)
    quota.set_limit(services, weak.account, 0)
    upload(weak.token)
    with services.database.writing() as work:
        strong = tokens.issue(work, services.random_source, weak.account, "tests", services.clock.now())
        work.commit()
    upload(strong)
    with services.database.writing() as work:
        work.accounts.verify_email(weak.account.id, services.clock.now())
        work.commit()
    upload(strong)
    subscriptions.change_plan(services, accounts.get_by_email(services, weak.email), "free")
    upload(strong)
    subscriptions.change_plan(services, accounts.get_by_email(services, weak.email), "starter")
    upload(strong)
    quota.set_limit(services, weak.account, 1)
    upload(strong)

    assert denials == [
        (403, "This token does not have the ability that this operation needs."),
        (403, "Your email address is not verified."),
        (403, "Your subscription has lapsed."),
        (403, "Your plan does not include API access."),
        (403, "Your monthly image quota is exceeded."),
        (202, "Image uploaded and queued for processing"),
    ]


# A free plan cannot lapse, but a paid plan without API access can.
def test_lapsed_subscription_is_checked_before_api_access(
    client: Client, server: Server, make_user: MakeUser, in_process: Callable[[Services], InProcessClient]
) -> None:
    services = server.services
    jane = make_user(plan="starter")
    plans = Plans([replace(services.plans["starter"], features=())])
    app = in_process(replace(services, plans=plans))
    bearer = {"Authorization": f"Bearer {jane.token}"}
    subscriptions.set_status(services, jane.account, SubscriptionStatus.LAPSED)

    lapsed = app.request("GET", "/api/images", bearer)
    subscriptions.set_status(services, jane.account, SubscriptionStatus.ACTIVE)
    paid = app.request("GET", "/api/images", bearer)

    assert lapsed.message == "Your subscription has lapsed."
    assert paid.message == "Your plan does not include API access."


def test_size_is_checked_before_type(connection: RawConnection, jane: User) -> None:
    response = connection.request(
        f"POST {UPLOAD} HTTP/1.1\nHost: x\nAuthorization: Bearer {jane.token}\n"
        f"Content-Type: text/plain\nContent-Length: {TOO_LARGE}"
    )

    assert response.status == 413


def test_type_is_checked_before_the_form(client: Client, jane: User) -> None:
    response = client.post(
        UPLOAD, token=jane.token, data=b"{broken", headers={"Content-Type": "application/json"}
    )

    assert response.status == 415


def test_type_is_checked_before_the_size_of_chunked_bodies(client: Client, jane: User) -> None:
    """The size of a chunked body is known only after reading it."""
    response = client.post(
        UPLOAD, token=jane.token, data=iter([b"x" * 65536] * 200), headers={"Content-Type": "text/plain"}
    )

    assert response.status == 415


def test_form_is_checked_before_the_fields(client: Client, jane: User) -> None:
    response = client.post(
        UPLOAD,
        token=jane.token,
        data=b'--b\r\nContent-Disposition: form-data; name="scale_factor"\r\n\r\n9\r\ngarbage',
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert response.status == 400


def test_fields_are_checked_before_the_quota(client: Client, make_user: MakeUser, png: bytes) -> None:
    """Only a valid request can exceed the quota."""
    starter = make_user(plan="starter")
    for used in range(1, 26):
        response = client.upload(starter.token, png)
        assert response.status == 202
        assert response.headers["X-RateLimit-Remaining"] == str(25 - used)

    wrong = client.upload(starter.token, png, fields={"scale_factor": "9"})
    right = client.upload(starter.token, png)

    assert wrong.status == 422
    assert (right.status, right.message) == (403, "Your monthly image quota is exceeded.")
    for response in (wrong, right):
        assert response.headers["X-RateLimit-Limit"] == "25"
        assert response.headers["X-RateLimit-Remaining"] == "0"
    assert client.get("/api/images", token=starter.token).json["meta"]["total"] == 25


def test_rejected_upload_leaves_no_file(
    client: Client, make_user: MakeUser, server: Server, png: bytes
) -> None:
    folder = server.settings.data / "files" / "originals"
    starter = make_user(plan="starter")
    for _ in range(25):
        client.upload(starter.token, png)
    before = set(folder.iterdir())

    assert client.upload(starter.token, png).status == 403
    assert client.upload(starter.token, b"no image").status == 422

    assert set(folder.iterdir()) == before


def test_parameters_are_checked_after_authorization(client: Client, make_user: MakeUser) -> None:
    assert client.get("/api/images?page=0").status == 401
    assert client.get("/api/images?page=0", token=make_user(plan="free").token).status == 403
    assert client.get("/api/images?page=0", token=make_user().token).status == 422
