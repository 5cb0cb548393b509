"""Mail written to a folder."""

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
    """Return the folder for the mails, which does not exist yet."""
    return tmp_path / "data" / "mail"


@pytest.fixture
def mailer(folder: Path, clock: Any, random_source: Any) -> MailFolder:
    """Return a mailer that writes to the folder."""
    return MailFolder(folder, "Uprez <uprez@localhost>", clock, random_source)


def only_mail(folder: Path) -> EmailMessage:
    (path,) = folder.iterdir()
    assert path.suffix == ".eml"
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def test_mail_is_a_valid_message_file(mailer: MailFolder, folder: Path, clock: Any) -> None:
    mailer.send(MAIL)
    message = only_mail(folder)
    assert message.defects == []
    assert message["From"] == "Uprez <uprez@localhost>"
    assert message["To"] == "jane@example.com"
    assert message["Subject"] == "Please verify"
    assert message["Date"].datetime == clock.now().replace(microsecond=0)
    assert message.get_content_type() == "text/plain"


# On a laptop, the console shows where the mail is.
def test_log_has_the_path_of_the_mail(
    mailer: MailFolder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mailer.send(MAIL)
    (path,) = folder.iterdir()
    assert f"mail_written path={path}" in caplog.text


# A link with a line break cannot be clicked.
def test_long_links_are_not_wrapped(mailer: MailFolder, folder: Path) -> None:
    mailer.send(MAIL)
    text = only_mail(folder).get_content()
    assert text.splitlines() == MAIL.text.splitlines()
    assert LINK in text.splitlines()


def test_lines_have_at_most_998_bytes(mailer: MailFolder, folder: Path) -> None:
    mailer.send(MAIL._replace(text="x" * 5000 + "\n", subject="y" * 2000))
    (path,) = folder.iterdir()
    assert max(len(line) for line in path.read_bytes().splitlines()) <= 998
    assert only_mail(folder).get_content().splitlines() == ["x" * 5000]


def test_text_and_names_can_have_any_script(folder: Path, clock: Any, random_source: Any) -> None:
    mailer = MailFolder(folder, "Größer <uprez@localhost>", clock, random_source)
    mailer.send(MAIL._replace(subject="Bitte bestätigen 🎉", text="Hallo Jürgen, 日本語\n"))
    message = only_mail(folder)
    assert message["Subject"] == "Bitte bestätigen 🎉"
    assert message["From"].addresses[0].display_name == "Größer"
    assert message.get_content().splitlines() == ["Hallo Jürgen, 日本語"]


# RFC 2047 forbids encoded words within an address: =?utf-8?q?…?=@example.com is not a valid recipient. RFC 6532
# allows the address in UTF-8.
def test_non_ascii_address_is_written_in_utf8(mailer: MailFolder, folder: Path) -> None:
    mailer.send(MAIL._replace(to="jürgen@xn--bcher-kva.example"))
    (path,) = folder.iterdir()
    text = path.read_bytes().decode("utf-8")
    assert "To: jürgen@xn--bcher-kva.example\r\n" in text
    address = email.message_from_string(text, policy=email.policy.SMTPUTF8)["To"].addresses[0]
    assert (address.username, address.domain) == ("jürgen", "xn--bcher-kva.example")


def test_mails_of_the_same_instant_have_distinct_files(mailer: MailFolder, folder: Path) -> None:
    for number in range(20):
        mailer.send(MAIL._replace(subject=f"Mail {number}"))
    subjects = {
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)["Subject"]
        for path in folder.iterdir()
    }
    assert subjects == {f"Mail {number}" for number in range(20)}


def test_file_names_sort_by_time(mailer: MailFolder, folder: Path, clock: Any) -> None:
    for number in range(3):
        mailer.send(MAIL._replace(subject=f"Mail {number}"))
        clock.advance(timedelta(microseconds=1))
    subjects = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)["Subject"]
        for path in sorted(folder.iterdir())
    ]
    assert subjects == ["Mail 0", "Mail 1", "Mail 2"]


# Text that a user controls must not become a header.
def test_line_breaks_cannot_add_headers(mailer: MailFolder, folder: Path) -> None:
    mailer.send(MAIL._replace(text="Hello Jane\r\nBcc: all@example.com\r\n,\n"))
    assert only_mail(folder)["Bcc"] is None
    with pytest.raises(ValueError, match="linefeed"):
        mailer.send(MAIL._replace(to="jane@example.com\r\nBcc: all@example.com"))


def test_unwritable_folder_raises_unavailable(folder: Path, mailer: MailFolder) -> None:
    folder.parent.mkdir()
    folder.write_bytes(b"a file where the folder should be")
    with pytest.raises(Unavailable):
        mailer.send(MAIL)
