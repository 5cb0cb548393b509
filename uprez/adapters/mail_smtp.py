"""The Mailer port on SMTP (RFC 5321), with the client of the standard library."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from domain.errors import Unavailable
from uprez.adapters.mail_message import MessageWriter

if TYPE_CHECKING:
    from domain.ports import Clock, Mail, RandomSource

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
"""Default port by scheme: no TLS, TLS after STARTTLS (RFC 3207), and TLS from the first byte (RFC 8314)."""
_TIMEOUT_SECONDS = 10
"""For the connection and for each command."""


@dataclass(frozen=True)
class SmtpServer:
    """Address and credentials of an SMTP server."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_url(cls, url: str) -> SmtpServer:
        """Parse the URL of a mail server, such as ``smtps://user:password@host:465``.

        The default port depends on the scheme; user and password are optional, but only together, and
        %-decoded. Raise ValueError for other text; its message contains no part of the URL, which may have a
        password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("It is not a valid URL.") from None
        if parts.scheme not in _PORTS:
            raise ValueError(f"It must begin with one of: {', '.join(f'{scheme}://' for scheme in _PORTS)}.")
        if not host or port == 0:
            raise ValueError("It must have a host. A port must be above 0.")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError(
                "It must end after the host and port. In a password, write / as %2F, ? as %3F and # as %23."
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if bool(user) != bool(password) or not (user + password).isascii():
            raise ValueError("It must have both user and password, or neither, in ASCII.")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], user, password)


class SmtpMailer:
    """Sends each mail over its own connection: mails are rare, and most servers close an idle connection."""

    def __init__(self, server: SmtpServer, sender: str, clock: Clock, random_source: RandomSource) -> None:
        self._server = server
        self._writer = MessageWriter(sender, clock, random_source, seven_bit=True)

    def send(self, mail: Mail) -> None:
        """Send the mail, with a login if the server has a user.

        Raise Unavailable when the server cannot be reached, has no valid certificate or does not accept the
        mail.
        """
        message = self._writer.write(mail)
        try:
            with self._connect() as client:
                if self._server.scheme == "smtp+starttls":
                    client.starttls(context=ssl.create_default_context())
                if self._server.user:
                    client.login(self._server.user, self._server.password)
                client.send_message(message)
        except OSError as error:  # base class of the errors of smtplib and ssl
            raise Unavailable(f"The mail could not be sent: {error}") from error

    def _connect(self) -> smtplib.SMTP:
        """Open a connection, with TLS only for the scheme smtps. Raise OSError when it fails."""
        address = (self._server.host, self._server.port)
        if self._server.scheme == "smtps":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(*address, timeout=_TIMEOUT_SECONDS, context=context)
        return smtplib.SMTP(*address, timeout=_TIMEOUT_SECONDS)
