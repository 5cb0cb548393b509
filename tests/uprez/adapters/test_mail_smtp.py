"""Mail by SMTP, received by a real server."""

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
# What the server of a test warns of is what the test is about: operators may do it, and it does not see TLS
# that is there from the first byte.
without_starttls = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
USER, PASSWORD = "uprez@example.com", "p/ss:w?rd #1"


@dataclass
class Received:
    """What came in, as a server keeps it."""

    envelopes: list[Any] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    refuse: str | None = None

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        if address == self.refuse:
            return "550 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: object, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.tls.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 Taken"

    def message(self) -> EmailMessage:
        (envelope,) = self.envelopes
        return email.message_from_bytes(envelope.content, policy=email.policy.default)


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
def serve(received: Received) -> Iterator[Callable[..., str]]:
    """Starts a server; its host and port, as they stand in a URL."""
    with ExitStack() as running:

        def start(**options: Any) -> str:
            return running.enter_context(_running(received, **options))

        yield start


@contextmanager
def _running(received: Received, **options: Any) -> Iterator[str]:
    controller = Controller(received, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield f"localhost:{controller.port}"
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this machine trusts, for as long as the test runs."""
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
    def send(url: str, mail: Mail = MAIL, sender: str = SENDER) -> None:
        SmtpMailer(SmtpServer.from_url(url), sender, clock, random_source).send(mail)

    return send


def credentials(
    _server: object, _session: object, _envelope: object, mechanism: str, data: object
) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=right)


# --- what arrives


def test_a_mail_arrives_as_it_was_written(serve: Any, send: Any, received: Received, clock: Any) -> None:
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


def test_every_mail_has_an_id_of_its_own(
    serve: Any, send: Any, received: Received, clock: Any, random_source: Any
) -> None:
    mailer = SmtpMailer(SmtpServer.from_url(f"smtp://{serve()}"), SENDER, clock, random_source)
    for _ in range(3):
        mailer.send(MAIL)

    ids = {email.message_from_bytes(envelope.content)["Message-ID"] for envelope in received.envelopes}
    assert len(ids) == 3


# Not every server on the way takes more than seven bits.
def test_text_of_every_script_arrives_and_travels_as_ascii(serve: Any, send: Any, received: Received) -> None:
    send(f"smtp://{serve()}", MAIL._replace(subject="Bitte bestätigen 🎉", text="Hallo Jürgen, 日本語\n"))

    assert received.envelopes[0].content.isascii()
    assert received.message()["Subject"] == "Bitte bestätigen 🎉"
    assert received.message().get_content().splitlines() == ["Hallo Jürgen, 日本語"]


def test_an_address_beyond_ascii_is_reached_where_the_server_can(
    serve: Any, send: Any, received: Received
) -> None:
    send(f"smtp://{serve(enable_SMTPUTF8=True)}", MAIL._replace(to="jürgen@xn--bcher-kva.example"))

    (envelope,) = received.envelopes
    assert envelope.rcpt_tos == ["jürgen@xn--bcher-kva.example"]
    assert envelope.smtp_utf8
    assert "To: jürgen@xn--bcher-kva.example\r\n" in envelope.content.decode("utf-8")


def test_an_address_beyond_ascii_is_an_outage_where_the_server_cannot(
    serve: Any, send: Any, received: Received
) -> None:
    with pytest.raises(Unavailable, match="SMTPUTF8"):
        send(f"smtp://{serve(enable_SMTPUTF8=False)}", MAIL._replace(to="jürgen@example.com"))
    assert received.envelopes == []


# --- TLS and passwords


@without_starttls
@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_mail_and_password_travel_encrypted(
    serve: Any, send: Any, received: Received, authority: trustme.CA, scheme: str
) -> None:
    context = tls_of(authority)
    options = (
        {"ssl_context": context} if scheme == "smtps" else {"tls_context": context, "require_starttls": True}
    )
    at = serve(**options, authenticator=credentials, auth_required=True, auth_require_tls=scheme != "smtps")

    send(f"{scheme}://uprez%40example.com:p%2Fss%3Aw%3Frd%20%231@{at}")

    assert received.tls == [True]
    assert received.message()["To"] == "jane@example.com"


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    serve: Any, send: Any, received: Received, authority: trustme.CA, scheme: str, wrong: str
) -> None:
    context = tls_of(authority, "elsewhere.example") if wrong == "name" else tls_of(trustme.CA())
    at = serve(**({"ssl_context": context} if scheme == "smtps" else {"tls_context": context}))

    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        send(f"{scheme}://{at}")
    assert received.envelopes == []


# Or whoever sits in between could take STARTTLS out of the conversation.
def test_a_server_without_starttls_gets_nothing_that_should_be_encrypted(
    serve: Any, send: Any, received: Received
) -> None:
    with pytest.raises(Unavailable, match="STARTTLS"):
        send(f"smtp+starttls://{serve()}")
    assert received.envelopes == []


@without_starttls
def test_a_password_works_without_tls_where_the_operator_says_so(
    serve: Any, send: Any, received: Received
) -> None:
    at = serve(authenticator=credentials, auth_required=True, auth_require_tls=False)
    send(f"smtp://uprez%40example.com:p%2Fss%3Aw%3Frd%20%231@{at}")
    assert len(received.envelopes) == 1


@without_starttls
@pytest.mark.parametrize("login", ["", "uprez%40example.com:hunter2@"])
def test_a_server_that_refuses_us_is_an_outage_and_the_password_is_not_repeated(
    serve: Any, send: Any, received: Received, login: str
) -> None:
    at = serve(authenticator=credentials, auth_required=True, auth_require_tls=False)
    with pytest.raises(Unavailable) as caught:
        send(f"smtp://{login}{at}")
    assert "hunter2" not in str(caught.value)
    assert received.envelopes == []


# --- outages


def test_a_refused_recipient_is_an_outage(serve: Any, send: Any, received: Received) -> None:
    received.refuse = "jane@example.com"
    with pytest.raises(Unavailable, match="No such mailbox"):
        send(f"smtp://{serve()}")
    assert received.envelopes == []


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls", "smtps"])
def test_a_server_that_is_down_is_an_outage(send: Any, scheme: str) -> None:
    with pytest.raises(Unavailable, match="could not be sent"):
        send(f"{scheme}://127.0.0.1:{free_port()}")


def test_a_server_that_says_nothing_is_an_outage(send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uprez.adapters.mail_smtp._TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="timed out"):
        send(f"smtp://127.0.0.1:{silent.getsockname()[1]}")


def test_a_name_that_leads_nowhere_is_an_outage(send: Any) -> None:
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
def test_a_url_names_the_server(url: str, server: SmtpServer) -> None:
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
def test_what_names_no_server_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(It|Nothing|User) .*\.$") as refused:
        SmtpServer.from_url(url)
    assert "hunter2" not in str(refused.value)


def test_a_password_is_not_shown_by_accident() -> None:
    assert "hunter2" not in repr(SmtpServer.from_url("smtp://me:hunter2@mail.example.com"))
