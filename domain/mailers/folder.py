"""Mail as ``.eml`` files in a folder: for laptops and tests, readable by every mail program."""

from __future__ import annotations

import logging
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

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
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(now)
        message.set_content(mail.text)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{now:%Y%m%dT%H%M%S.%f}-{self._chance.letters(6)}.eml"
        path.write_bytes(message.as_bytes())
        _log.info("Mail written: %s", path)
