"""Mail messages (RFC 5322), the same for every implementation of the Mailer port."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from domain.ports import Clock, Mail, RandomSource


class MessageWriter:
    """Turns mails of the domain layer into messages.

    ``seven_bit`` is for SMTP servers, because some accept only ASCII. Text in 8 bits is easier to read in a file.
    """

    def __init__(
        self, sender: str, clock: Clock, random_source: RandomSource, *, seven_bit: bool = False
    ) -> None:
        self._sender = sender
        self._domain = sender_domain(sender)
        self._clock = clock
        self._random_source = random_source
        self._cte_type: Literal["7bit", "8bit"] = "7bit" if seven_bit else "8bit"

    def write(self, mail: Mail) -> EmailMessage:
        """Return the message as plain text with all headers, dated now, with a new Message-ID.

        Only a message to an address that is not ASCII has headers in UTF-8.
        """
        # RFC 2047 forbids encoded words within an address; RFC 6532 allows the address in UTF-8.
        policy = SMTP if mail.to.isascii() else SMTPUTF8
        message = EmailMessage(policy=policy.clone(cte_type=self._cte_type))
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{self._random_source.token(32)}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents automatic replies
        message.set_content(mail.text)
        return message


def sender_domain(sender: str) -> str:
    """Return the domain of a sender's address. Raise ValueError for anything but one address."""
    message = EmailMessage()
    try:
        message["From"] = sender
        header = message["From"]
        domains = [address.domain for address in header.addresses]
    except (AttributeError, IndexError):  # the parser fails on some malformed texts
        domains = []
    if len(domains) != 1 or not domains[0] or header.defects:
        raise ValueError("It must be exactly one address, such as Uprez <uprez@example.com>.")
    return str(domains[0])
