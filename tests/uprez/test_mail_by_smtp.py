"""A running service that sends mail by SMTP, and a client that follows the links in it."""

from __future__ import annotations

import email
import email.policy
import queue
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from aiosmtpd.controller import Controller
from running_service import Service

OLD, NEW = "Correct-Horse-9", "New-Correct-Horse-10"


class Mailbox:
    """An SMTP handler that keeps the text of each mail."""

    def __init__(self) -> None:
        self._texts: queue.Queue[str] = queue.Queue()

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        assert envelope.rcpt_tos == ["zoe@example.com"]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self._texts.put(str(message.get_content()))
        return "250 OK"

    def next_text(self) -> str:
        """Return the text of the next mail; wait for it if it has not arrived."""
        return self._texts.get(timeout=120)


@pytest.fixture
def mailbox() -> Mailbox:
    """Return the handler of the SMTP server."""
    return Mailbox()


@pytest.fixture
def mail_url(mailbox: Mailbox) -> Iterator[str]:
    """Provide the URL of a running SMTP server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield f"smtp://127.0.0.1:{port}"
    controller.stop()


def test_verification_and_reset_by_smtp(
    new_service: Callable[..., Service], mailbox: Mailbox, mail_url: str
) -> None:
    service = new_service(UPREZ_MAIL_URL=mail_url, UPREZ_MAIL_FROM="Uprez <uprez@example.com>").start()

    def post(path: str, **fields: str) -> requests.Response:
        return requests.post(f"{service.api}/auth/{path}", json=fields, timeout=120)

    def status_of(token: str) -> int:
        bearer = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{service.api}/user", headers=bearer, timeout=120).status_code

    me = "zoe@example.com"
    registered = post("register", name="Zoë Müller", email=me, password=OLD, password_confirmation=OLD).json()
    (link,) = re.findall(r"https?://\S+", mailbox.next_text())
    assert post("login", email=me, password=OLD).status_code == 403
    assert requests.get(link, timeout=120).status_code == 200
    token = post("login", email=me, password=OLD).json()["data"]["token"]

    assert post("forgot-password", email=me).status_code == 200
    (reset,) = re.findall(r"\S{80,}", mailbox.next_text())
    assert (
        post("reset-password", email=me, token=reset, password=NEW, password_confirmation=NEW).status_code
        == 200
    )

    assert [status_of(ended) for ended in (registered["data"]["token"], token)] == [401, 401]
    assert post("login", email=me, password=OLD).status_code == 401
    assert status_of(post("login", email=me, password=NEW).json()["data"]["token"]) == 200
    assert not (service.folder / "mail").exists()


# A mail server that does not respond must delay neither registration nor the stop of the service.
def test_unresponsive_mail_server_does_not_block(
    new_service: Callable[..., Service],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = new_service(UPREZ_MAIL_URL=f"smtp://127.0.0.1:{silent.getsockname()[1]}").start()
        form = {"name": "Zoë", "email": "zoe@example.com", "password": OLD, "password_confirmation": OLD}

        response = requests.post(f"{service.api}/auth/register", json=form, timeout=5)

        assert response.status_code == 201
        assert service.stop() == 0
