"""Mail as ``.eml`` files in a folder: for laptops and tests, readable by every mail program."""

from __future__ import annotations

import logging
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import TYPE_CHECKING

from domain.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from domain.ports import Chance, Clock, Mail

_log = logging.getLogger(__name__)


class MailFolder:
    def __init__(self, folder: Path, sender: str, clock: Clock, chance: Chance) -> None:
        self._folder = folder
        self._sender = sender
        self._clock = clock
        self._chance = chance

    def send(self, mail: Mail) -> None:
        now = self._clock.now()
        # RFC 2047 forbids encoded words within an address; RFC 6532 has it as it is.
        message = EmailMessage(policy=SMTP if mail.to.isascii() else SMTPUTF8)
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(now)
        message.set_content(mail.text)
        path = self._folder / f"{now:%Y%m%dT%H%M%S.%f}-{self._chance.letters(6)}.eml"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(message.as_bytes())
        except OSError as reason:
            raise Unavailable(f"The mail could not be written: {reason}") from reason
        _log.info("Mail written: %s", path)
