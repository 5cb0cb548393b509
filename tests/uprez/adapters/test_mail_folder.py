from __future__ import annotations

import email
import email.policy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from domain.errors import Unavailable
from domain.ports import Mail
from uprez.adapters.mail_folder import MailFolder

if TYPE_CHECKING:
    from email.message import EmailMessage

LINK = "http://127.0.0.1:8000/api/auth/verify-email/1/" + "aB3-_." * 60
MAIL = Mail("jane@example.com", "Please verify", f"Hello Jane,\n\nopen this link:\n\n{LINK}\n\nBye.\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "mail"


@pytest.fixture
def mails(folder: Path, clock: Any, random_source: Any) -> MailFolder:
    return MailFolder(folder, "Uprez <uprez@localhost>", clock, random_source)


def only_mail(folder: Path) -> EmailMessage:
    (path,) = folder.iterdir()
    assert path.suffix == ".eml"
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def test_a_mail_is_a_file_that_mail_programs_read(mails: MailFolder, folder: Path, clock: Any) -> None:
    mails.send(MAIL)
    message = only_mail(folder)
    assert message.defects == []
    assert message["From"] == "Uprez <uprez@localhost>"
    assert message["To"] == "jane@example.com"
    assert message["Subject"] == "Please verify"
    assert message["Date"].datetime == clock.now().replace(microsecond=0)
    assert message.get_content_type() == "text/plain"


# In the embedded form the console is where people look for their mail.
def test_the_log_says_where_the_mail_is(
    mails: MailFolder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mails.send(MAIL)
    (path,) = folder.iterdir()
    assert str(path) in caplog.text


# A link that is folded in the middle cannot be clicked.
def test_the_text_arrives_as_it_was_written_long_links_included(mails: MailFolder, folder: Path) -> None:
    mails.send(MAIL)
    text = only_mail(folder).get_content()
    assert text.splitlines() == MAIL.text.splitlines()
    assert LINK in text.splitlines()


def test_no_line_is_longer_than_mail_servers_take(mails: MailFolder, folder: Path) -> None:
    mails.send(MAIL._replace(text="x" * 5000 + "\n", subject="y" * 2000))
    (path,) = folder.iterdir()
    assert max(len(line) for line in path.read_bytes().splitlines()) <= 998
    assert only_mail(folder).get_content().splitlines() == ["x" * 5000]


def test_text_and_names_of_every_script_arrive(folder: Path, clock: Any, random_source: Any) -> None:
    mails = MailFolder(folder, "Größer <uprez@localhost>", clock, random_source)
    mails.send(MAIL._replace(subject="Bitte bestätigen 🎉", text="Hallo Jürgen, 日本語\n"))
    message = only_mail(folder)
    assert message["Subject"] == "Bitte bestätigen 🎉"
    assert message["From"].addresses[0].display_name == "Größer"
    assert message.get_content().splitlines() == ["Hallo Jürgen, 日本語"]


# RFC 2047 forbids encoded words within an address: «=?utf-8?q?…?=@example.com» reaches nobody. RFC 6532
# has the address as it is.
def test_an_address_beyond_ascii_stands_in_the_mail_as_it_is(mails: MailFolder, folder: Path) -> None:
    mails.send(MAIL._replace(to="jürgen@xn--bcher-kva.example"))
    (path,) = folder.iterdir()
    text = path.read_bytes().decode("utf-8")
    assert "To: jürgen@xn--bcher-kva.example\r\n" in text
    address = email.message_from_string(text, policy=email.policy.SMTPUTF8)["To"].addresses[0]
    assert (address.username, address.domain) == ("jürgen", "xn--bcher-kva.example")


def test_mails_of_the_same_instant_do_not_overwrite_each_other(mails: MailFolder, folder: Path) -> None:
    for number in range(20):
        mails.send(MAIL._replace(subject=f"Mail {number}"))
    subjects = {
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)["Subject"]
        for path in folder.iterdir()
    }
    assert subjects == {f"Mail {number}" for number in range(20)}


def test_files_are_listed_in_the_order_of_their_mails(mails: MailFolder, folder: Path, clock: Any) -> None:
    for number in range(3):
        mails.send(MAIL._replace(subject=f"Mail {number}"))
        clock.advance(timedelta(microseconds=1))
    subjects = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)["Subject"]
        for path in sorted(folder.iterdir())
    ]
    assert subjects == ["Mail 0", "Mail 1", "Mail 2"]


# Whatever somebody calls himself, he does not get to write our headers.
def test_a_name_cannot_add_headers(mails: MailFolder, folder: Path) -> None:
    mails.send(MAIL._replace(text="Hello Jane\r\nBcc: all@example.com\r\n,\n"))
    assert only_mail(folder)["Bcc"] is None
    with pytest.raises(ValueError, match="linefeed"):
        mails.send(MAIL._replace(to="jane@example.com\r\nBcc: all@example.com"))


def test_a_folder_that_cannot_be_written_is_an_outage(folder: Path, mails: MailFolder) -> None:
    folder.parent.mkdir()
    folder.write_bytes(b"a file where the folder should be")
    with pytest.raises(Unavailable):
        mails.send(MAIL)
