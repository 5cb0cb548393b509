"""Email addresses in the form in which they are stored and compared."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email


def normalize_email(email: str | None) -> str | None:
    """Return the address in lower case with an ASCII (IDNA) domain, or None if it is not a valid address.

    Only the form is checked, not that the domain exists.
    """
    if email is None:
        return None
    try:
        checked = validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return None
    return f"{checked.local_part}@{checked.ascii_domain}".lower()
