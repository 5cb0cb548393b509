"""The Mailer port for laptops and tests: it writes each mail to a file that mail programs can open."""

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
    """A folder with one ``.eml`` file for each mail."""

    def __init__(self, folder: Path, sender: str, clock: Clock, random_source: RandomSource) -> None:
        self._folder = folder
        self._writer = MessageWriter(sender, clock, random_source)
        self._clock = clock
        self._random_source = random_source

    def send(self, mail: Mail) -> None:
        """Write the mail to a new file, whose name sorts by time.

        Create the folder if it is missing, and log the path. Raise Unavailable when it cannot be written.
        """
        message = self._writer.write(mail)
        path = self._folder / f"{self._clock.now():%Y%m%dT%H%M%S.%f}-{self._random_source.token(6)}.eml"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")  # a reader of *.eml never gets an incomplete file
            unfinished.write_bytes(message.as_bytes())
            unfinished.rename(path)
        except OSError as error:
            raise Unavailable(f"The mail could not be written: {error}") from error
        _log.info("mail_written path=%s", path)
