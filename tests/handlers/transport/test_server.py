"""Stopping the API with a signal."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.handlers.conftest import Response, Server, StartServer

EMAIL = "jane@example.com"
PASSWORD = "Correct-Horse-9"


def register(server: Server) -> Response:
    form = {"name": "Jane", "email": EMAIL, "password": PASSWORD, "password_confirmation": PASSWORD}
    with server.client() as client:
        return client.post("/api/auth/register", json=form)


def stop(server: Server) -> int:
    server.process.send_signal(signal.SIGTERM)
    # A loaded machine needs longer than the grace period; the log shows what happened to the mail.
    return server.process.wait(timeout=120)


# The account exists by then, and its verification mail must be sent.
def test_queued_mail_is_sent_when_the_api_stops(start_server: StartServer) -> None:
    server = start_server()

    assert register(server).status == 201
    assert stop(server) == 0

    assert len(list((server.settings.data / "mail").glob("*.eml"))) == 1


def test_unsendable_mail_does_not_delay_the_stop_and_is_logged(
    start_server: StartServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start_server(mail_url=f"smtp://127.0.0.1:{silent.getsockname()[1]}")

        assert register(server).status == 201
        assert stop(server) == 0

    assert "background_tasks_dropped reason=shutdown count=1" in server.log.read_text("utf-8")
