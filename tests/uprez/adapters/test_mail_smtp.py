"""Mail by SMTP, sent to a real server."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from domain.errors import Unavailable
from domain.ports import Mail
from uprez.adapters.mail_smtp import SmtpMailer, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage
    from pathlib import Path

SENDER = "Größer <uprez@example.com>"
MAIL = Mail(
    "jane@example.com", "Please verify", "Hello Jane,\n\nopen this link:\n\nhttp://x/" + "aB3-_." * 60 + "\n"
)
# The test server warns of passwords without STARTTLS. These tests cover that case, and TLS from the first byte, which
# the server does not detect.
without_starttls = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
USER, PASSWORD = "uprez@example.com", "p/ss:w?rd #1"


@dataclass
class ReceivingHandler:
    """An SMTP handler that keeps the mails and rejects one address."""

    envelopes: list[Any] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    rejected_address: str | None = None

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        if address == self.rejected_address:
            return "550 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: object, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.tls.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"

    def message(self) -> EmailMessage:
        """Return the only mail that was received."""
        (envelope,) = self.envelopes
        return email.message_from_bytes(envelope.content, policy=email.policy.default)


@pytest.fixture
def received() -> ReceivingHandler:
    """Return the handler of the test's servers."""
    return ReceivingHandler()


@pytest.fixture
def serve(received: ReceivingHandler) -> Iterator[Callable[..., str]]:
    """Provide a function that starts a server and returns its host:port."""
    with ExitStack() as running:

        def start(**options: Any) -> str:
            return running.enter_context(_running(received, **options))

        yield start


@contextmanager
def _running(received: ReceivingHandler, **options: Any) -> Iterator[str]:
    controller = Controller(received, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield f"localhost:{controller.port}"
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return a certificate authority that the test's process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def tls_of(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def send(clock: Any, random_source: Any) -> Callable[..., None]:
    """Return a function that sends a mail to the server of a URL."""

    def send(url: str, mail: Mail = MAIL, sender: str = SENDER) -> None:
        SmtpMailer(SmtpServer.from_url(url), sender, clock, random_source).send(mail)

    return send


def check_credentials(
    _server: object, _session: object, _envelope: object, mechanism: str, data: object
) -> AuthResult:
    is_valid = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=is_valid)


# --- messages


def test_mail_arrives_unchanged(serve: Any, send: Any, received: ReceivingHandler, clock: Any) -> None:
    send(f"smtp://{serve()}")

    (envelope,) = received.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("uprez@example.com", ["jane@example.com"])
    message = received.message()
    assert message.defects == []
    assert message["From"] == SENDER
    assert (message["To"], message["Subject"]) == ("jane@example.com", "Please verify")
    assert message["Date"].datetime == clock.now().replace(microsecond=0)
    assert message["Message-ID"].endswith("@example.com>")
    assert message.get_content().splitlines() == MAIL.text.splitlines()


def test_every_mail_has_a_distinct_message_id(
    serve: Any, send: Any, received: ReceivingHandler, clock: Any, random_source: Any
) -> None:
    mailer = SmtpMailer(SmtpServer.from_url(f"smtp://{serve()}"), SENDER, clock, random_source)
    for _ in range(3):
        mailer.send(MAIL)

    ids = {email.message_from_bytes(envelope.content)["Message-ID"] for envelope in received.envelopes}
    assert len(ids) == 3


# Some servers accept only ASCII.
def test_text_of_any_script_is_sent_as_ascii(serve: Any, send: Any, received: ReceivingHandler) -> None:
    send(f"smtp://{serve()}", MAIL._replace(subject="Bitte bestätigen 🎉", text="Hallo Jürgen, 日本語\n"))

    assert received.envelopes[0].content.isascii()
    assert received.message()["Subject"] == "Bitte bestätigen 🎉"
    assert received.message().get_content().splitlines() == ["Hallo Jürgen, 日本語"]


def test_non_ascii_address_is_sent_with_smtputf8(serve: Any, send: Any, received: ReceivingHandler) -> None:
    send(f"smtp://{serve(enable_SMTPUTF8=True)}", MAIL._replace(to="jürgen@xn--bcher-kva.example"))

    (envelope,) = received.envelopes
    assert envelope.rcpt_tos == ["jürgen@xn--bcher-kva.example"]
    assert envelope.smtp_utf8
    assert "To: jürgen@xn--bcher-kva.example\r\n" in envelope.content.decode("utf-8")


def test_non_ascii_address_without_smtputf8_is_unavailable(
    serve: Any, send: Any, received: ReceivingHandler
) -> None:
    with pytest.raises(Unavailable, match="SMTPUTF8"):
        send(f"smtp://{serve(enable_SMTPUTF8=False)}", MAIL._replace(to="jürgen@example.com"))
    assert received.envelopes == []


# --- TLS and passwords


@without_starttls
@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_mail_and_password_are_encrypted(
    serve: Any, send: Any, received: ReceivingHandler, authority: trustme.CA, scheme: str
) -> None:
    context = tls_of(authority)
    options = (
        {"ssl_context": context} if scheme == "smtps" else {"tls_context": context, "require_starttls": True}
    )
    at = serve(
        **options, authenticator=check_credentials, auth_required=True, auth_require_tls=scheme != "smtps"
    )

    send(f"{scheme}://uprez%40example.com:p%2Fss%3Aw%3Frd%20%231@{at}")

    assert received.tls == [True]
    assert received.message()["To"] == "jane@example.com"


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_invalid_certificate_is_rejected(
    serve: Any, send: Any, received: ReceivingHandler, authority: trustme.CA, scheme: str, wrong: str
) -> None:
    context = tls_of(authority, "elsewhere.example") if wrong == "name" else tls_of(trustme.CA())
    at = serve(**({"ssl_context": context} if scheme == "smtps" else {"tls_context": context}))

    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        send(f"{scheme}://{at}")
    assert received.envelopes == []


# Otherwise an attacker between client and server could remove STARTTLS.
def test_server_without_starttls_is_rejected(serve: Any, send: Any, received: ReceivingHandler) -> None:
    with pytest.raises(Unavailable, match="STARTTLS"):
        send(f"smtp+starttls://{serve()}")
    assert received.envelopes == []


@without_starttls
def test_password_without_tls_is_possible(serve: Any, send: Any, received: ReceivingHandler) -> None:
    at = serve(authenticator=check_credentials, auth_required=True, auth_require_tls=False)
    send(f"smtp://uprez%40example.com:p%2Fss%3Aw%3Frd%20%231@{at}")
    assert len(received.envelopes) == 1


@without_starttls
@pytest.mark.parametrize("login", ["", "uprez%40example.com:hunter2@"])
def test_failed_login_is_unavailable_and_hides_the_password(
    serve: Any, send: Any, received: ReceivingHandler, login: str
) -> None:
    at = serve(authenticator=check_credentials, auth_required=True, auth_require_tls=False)
    with pytest.raises(Unavailable) as caught:
        send(f"smtp://{login}{at}")
    assert "hunter2" not in str(caught.value)
    assert received.envelopes == []


# --- outages


def test_rejected_recipient_is_unavailable(serve: Any, send: Any, received: ReceivingHandler) -> None:
    received.rejected_address = "jane@example.com"
    with pytest.raises(Unavailable, match="No such mailbox"):
        send(f"smtp://{serve()}")
    assert received.envelopes == []


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls", "smtps"])
def test_server_that_is_down_is_unavailable(send: Any, scheme: str) -> None:
    with pytest.raises(Unavailable, match="could not be sent"):
        send(f"{scheme}://127.0.0.1:{free_port()}")


def test_silent_server_is_unavailable(send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uprez.adapters.mail_smtp._TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="timed out"):
        send(f"smtp://127.0.0.1:{silent.getsockname()[1]}")


def test_unknown_host_is_unavailable(send: Any) -> None:
    with pytest.raises(Unavailable):
        send("smtp://no-such-host.invalid")


# --- the URL


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", SmtpServer("smtp", "mail.example.com", 25)),
        ("smtp+starttls://mail.example.com/", SmtpServer("smtp+starttls", "mail.example.com", 587)),
        ("smtps://mail.example.com", SmtpServer("smtps", "mail.example.com", 465)),
        ("SMTP://[::1]:2525", SmtpServer("smtp", "::1", 2525)),
        (
            "smtps://me%40example.com:p%2Fw%25@mail.example.com:1465",
            SmtpServer("smtps", "mail.example.com", 1465, "me@example.com", "p/w%"),
        ),
    ],
)
def test_url_is_parsed(url: str, server: SmtpServer) -> None:
    assert SmtpServer.from_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "http://me:hunter2@mail.example.com",
        "smtp://",
        "smtp://me:hunter2@",
        "smtp://me:hunter2@mail.example.com:0",
        "smtp://me:hunter2@mail.example.com:99999",
        "smtp://me:hunter2@mail.example.com:smtp",
        "smtp://me:hunter2@[::1",
        "smtp://me:hunter2@mail.example.com/path",
        "smtp://me:hunter2@mail.example.com?starttls=1",
        "smtp://me:hunter2/rest@mail.example.com",
        "smtp://me:hunter2#rest@mail.example.com",
        "smtp://hunter2@mail.example.com",
        "smtp://:hunter2@mail.example.com",
        "smtp://me:hunter2ß@mail.example.com",
        "smtp://me:hunter2\u2100@mail.example.com",
    ],
)
def test_invalid_url_is_rejected_and_hidden(url: str) -> None:
    with pytest.raises(ValueError, match=r"^It .*\.$") as caught:
        SmtpServer.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_repr_hides_the_password() -> None:
    assert "hunter2" not in repr(SmtpServer.from_url("smtp://me:hunter2@mail.example.com"))
