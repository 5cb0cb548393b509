"""A mail as RFC 5322 has it, the same for every way in which it leaves."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from domain.ports import Clock, Mail, RandomSource


class MessageWriter:
    """``seven_bit`` is for servers, not all of which take more; people read the other one better in a file."""

    def __init__(
        self, sender: str, clock: Clock, random_source: RandomSource, *, seven_bit: bool = False
    ) -> None:
        self._sender = sender
        self._domain = sender_domain(sender)
        self._clock = clock
        self._chance = random_source
        self._cte_type: Literal["7bit", "8bit"] = "7bit" if seven_bit else "8bit"

    def write(self, mail: Mail) -> EmailMessage:
        # RFC 2047 forbids encoded words within an address; RFC 6532 has it as it is.
        policy = SMTP if mail.to.isascii() else SMTPUTF8
        message = EmailMessage(policy=policy.clone(cte_type=self._cte_type))
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{self._chance.token(32)}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday greetings in return
        message.set_content(mail.text)
        return message


def sender_domain(sender: str) -> str:
    """Raises ValueError for what is not the one address of a sender."""
    message = EmailMessage()
    message["From"] = sender
    domains = [address.domain for address in message["From"].addresses]
    if len(domains) != 1 or not domains[0]:
        raise ValueError("It must be one address, such as Uprez <uprez@example.com>.")
    return str(domains[0])
