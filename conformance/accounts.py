"""Accounts and tokens that the kit creates for itself, so that those of the user stay unchanged."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.client import Client
from conformance.verdicts import CheckFailed, Inconclusive

if TYPE_CHECKING:
    from conformance.client import Response, Transport


@dataclass(frozen=True)
class NewAccount:
    """A registered account with an unverified address. ``registration`` is the response to its registration."""

    sent: dict[str, str]
    registration: Response
    client: Client

    @property
    def user(self) -> dict[str, Any]:
        user: dict[str, Any] = self.registration.data["user"]
        return user


class Accounts:
    """Registrations and logins. ``close`` logs out their tokens; accounts remain, as the contract cannot delete them."""

    def __init__(self, transport: Transport, tag: str) -> None:
        """Draw the password of all new accounts and add it to the secrets.

        It is random and independent of the seed. No request is sent.
        """
        self._transport = transport
        # Random in each run and independent of the seed: the accounts remain, so the password must stay unknown.
        self.password = f"Aa1-{secrets.token_urlsafe(12)}"
        transport.secrets.add(self.password)
        # The addresses of all earlier runs are in use.
        self._run = f"{tag}-{time.time_ns():x}"
        self._shared: NewAccount | None = None
        self._clients: list[Client] = []
        self._forms = 0

    def registration_form(self) -> dict[str, str]:
        """Return all fields of a valid registration with an address that no earlier call or run used."""
        self._forms += 1
        return {
            "name": "Conformance Kit",
            "email": f"{self._run}-{self._forms}@example.com",
            "password": self.password,
            "password_confirmation": self.password,
        }

    def register(self, form: dict[str, str]) -> Response:
        """Send a registration and return the response, whatever its status; ``close`` logs out its token.

        Raise Inconclusive without a response.
        """
        return self.track_token(self._transport.send("POST", "/auth/register", json=form))

    def create(self, **more: str) -> NewAccount:
        """Register a new account, with ``more`` fields that add to or replace those of the form.

        Track its token. Raise Inconclusive if only the address is rejected (422 on `email` alone), and
        CheckFailed for any other status than 200 and 201 or for a success without a token.
        """
        form = {**self.registration_form(), **more}
        response = self.register(form)
        if response.status == HTTPStatus.UNPROCESSABLE_ENTITY and set(response.errors) == {"email"}:
            raise Inconclusive(
                "The server rejects addresses of example.com (422 on `email`). Allow them for the run: no mail to them "
                "is ever delivered."
            )
        response.expect(201, 200, why="with all required fields")
        return NewAccount(form, response, Client(self._transport, str(response.data["token"])))

    @property
    def shared(self) -> NewAccount:
        """Return the account of all checks that do not revoke its token; create it on first use.

        Raise CheckFailed or Inconclusive as ``create`` does.
        """
        if self._shared is None:
            self._shared = self.create()
        return self._shared

    def log_in(self, email: str, password: str) -> Response:
        """Send a login and return the response, whatever its status; ``close`` logs out its token.

        Add the password to the secrets. Raise Inconclusive without a response.
        """
        self._transport.secrets.add(password)
        form = {"email": email, "password": password}
        return self.track_token(self._transport.send("POST", "/auth/login", json=form))

    def track_token(self, response: Response) -> Response:
        """Return the response; if it is a 200 or 201 with a token, ``close`` logs that token out.

        A success without a token is no error here.
        """
        if response.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            with suppress(CheckFailed):
                self._clients.append(Client(self._transport, str(response.data["token"])))
        return response

    def close(self) -> None:
        """Log out all tracked tokens, ignore failures, and forget the tokens; the transport stays open."""
        for client in self._clients:
            with suppress(CheckFailed, Inconclusive):  # a check may have revoked the token
                client.post("/auth/logout")
        self._clients = []
