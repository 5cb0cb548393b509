"""Accounts and tokens that the kit gets for itself, so that nothing happens to those of the caller."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.client import Client
from conformance.verdicts import Broken, Inconclusive

if TYPE_CHECKING:
    from conformance.client import Answer, Transport

CREATED, OK = 201, 200


@dataclass(frozen=True)
class Newcomer:
    """An account that was registered, its address not verified. ``registered`` is the answer to it."""

    sent: dict[str, str]
    registered: Answer
    client: Client

    @property
    def user(self) -> dict[str, Any]:
        user: dict[str, Any] = self.registered.data["user"]
        return user


class Accounts:
    """Registers and logs in; all tokens that come of it are logged out by ``close``. Accounts stay: the contract deletes none."""

    def __init__(self, transport: Transport, tag: str) -> None:
        self._transport = transport
        # Drawn anew in each run, unlike all else: the accounts stay, and nobody is to know their password.
        self.password = f"Aa1-{secrets.token_urlsafe(12)}"
        transport.secrets.add(self.password)
        # The addresses of all earlier runs are taken.
        self._run = f"{tag}-{time.time_ns():x}"
        self._known: Newcomer | None = None
        self._clients: list[Client] = []
        self._forms = 0

    def form(self) -> dict[str, str]:
        """What a registration asks for, all of it right, with an address that nobody has had."""
        self._forms += 1
        return {
            "name": "Conformance Kit",
            "email": f"{self._run}-{self._forms}@example.com",
            "password": self.password,
            "password_confirmation": self.password,
        }

    def register(self, form: dict[str, str]) -> Answer:
        """Whatever the answer."""
        return self.remembered(self._transport.send("POST", "/auth/register", json=form))

    def newcomer(self, **more: str) -> Newcomer:
        """Another one each time, even if the server calls it 200; ``more`` is sent besides what is needed.

        Raises Broken, and Inconclusive for a server that takes no address of example.com.
        """
        form = {**self.form(), **more}
        answer = self.register(form)
        if answer.status == 422 and set(answer.errors) == {"email"}:  # noqa: PLR2004
            raise Inconclusive(
                "The server takes no address of example.com (422 on `email`). Allow them for the run: no mail that is "
                "sent there reaches anybody."
            )
        answer.expect(CREATED, OK, why="with all that is asked for")
        return Newcomer(form, answer, Client(self._transport, str(answer.data["token"])))

    @property
    def known(self) -> Newcomer:
        """The same one for all checks that leave its token alone."""
        if self._known is None:
            self._known = self.newcomer()
        return self._known

    def log_in(self, email: str, password: str) -> Answer:
        """Whatever the answer."""
        self._transport.secrets.add(password)
        form = {"email": email, "password": password}
        return self.remembered(self._transport.send("POST", "/auth/login", json=form))

    def close(self) -> None:
        """Log all tokens out."""
        for client in self._clients:
            with suppress(Broken, Inconclusive):  # those that a check has revoked are refused
                client.post("/auth/logout")
        self._clients = []

    def remembered(self, answer: Answer) -> Answer:
        """The same; a token that it gives is logged out in the end."""
        if answer.status in {OK, CREATED}:
            with suppress(Broken):
                self._clients.append(Client(self._transport, str(answer.data["token"])))
        return answer
