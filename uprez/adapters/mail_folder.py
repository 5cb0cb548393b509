"""Mail as ``.eml`` files in a folder: for laptops and tests, readable by every mail program."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from domain.errors import Unavailable
from uprez.adapters.mail_message import MessageWriter

if TYPE_CHECKING:
    from pathlib import Path

    from domain.ports import Clock, Mail, RandomSource

_log = logging.getLogger(__name__)


class MailFolder:
    def __init__(self, folder: Path, sender: str, clock: Clock, random_source: RandomSource) -> None:
        self._folder = folder
        self._writer = MessageWriter(sender, clock, random_source)
        self._clock = clock
        self._chance = random_source

    def send(self, mail: Mail) -> None:
        message = self._writer.write(mail)
        path = self._folder / f"{self._clock.now():%Y%m%dT%H%M%S.%f}-{self._chance.token(6)}.eml"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")  # whoever looks for mail finds whole ones
            unfinished.write_bytes(message.as_bytes())
            unfinished.rename(path)
        except OSError as reason:
            raise Unavailable(f"The mail could not be written: {reason}") from reason
        _log.info("Mail written: %s", path)
