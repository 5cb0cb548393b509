"""The mails that the service sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.ports import Mail

if TYPE_CHECKING:
    from datetime import datetime

    from domain.records import Account


def verification_mail(account: Account, link: str, expires_at: datetime) -> Mail:
    """Return the mail with the link that verifies the account's address.

    The address may belong to another person than the one who registered it, so the text repeats nothing that
    was sent with the registration.
    """
    return Mail(
        to=account.email,
        subject="Please verify your email address",
        text=(
            "Hello,\n\n"
            f"open this link to verify your email address for Uprez:\n\n{link}\n\n"
            f"The link is valid until {_minute(expires_at)}. "
            "If you did not register an account, ignore this mail.\n"
        ),
    )


def password_reset_mail(account: Account, token: str, url: str, expires_at: datetime) -> Mail:
    """Return the mail with the token that sets a new password by a POST request to ``url``.

    It contains the account's name only if the address is verified: an unverified address may belong to
    another person, and the name could be a message to that person.
    """
    greeting = "Hello" if account.email_verified_at is None else f"Hello {account.name}"
    return Mail(
        to=account.email,
        subject="Your new password",
        text=(
            f"{greeting},\n\n"
            "a new password was requested for your account at Uprez. "
            f"Use this token to set it:\n\n{token}\n\n"
            "Send it as token, with your email, the new password and password_confirmation, as JSON by POST to\n\n"
            f"{url}\n\n"
            f"The token is valid once, until {_minute(expires_at)}. "
            "If you did not request a new password, ignore this mail: your password does not change.\n"
        ),
    )


def _minute(moment: datetime) -> str:
    """Return the time in UTC to the minute, as mails show it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
