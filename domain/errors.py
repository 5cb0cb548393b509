"""Everything the rules can refuse, as codes; what a client reads is decided in ``handlers/transport/envelope.py``.

UprezError
├── InvalidFields               one or more fields are wrong; carries a FieldProblem for each
├── Unauthenticated             no token, or one that is unknown, revoked or expired
├── WrongCredentials            the e-mail address or the password is wrong; nothing says which
├── EmailTaken                  another account has the address
├── Refused                     known who asks, and not allowed
│   ├── AbilityMissing
│   ├── EmailNotVerified
│   ├── SubscriptionLapsed
│   ├── ApiAccessMissing
│   ├── BatchesMissing          the plan does not include batches
│   ├── QuotaExceeded
│   └── LinkRefused             a signed link that was changed or has expired
├── TooManyRequests             the hourly limit is reached; carries the seconds until it is not
│   └── TooManyFailedLogins
├── NotFound                    nothing there, or nothing of this account's
├── NotDownloadable             the image exists and has no result (yet)
├── Unavailable                 something we need is not there at the moment
│   └── CommitUnanswered        nobody knows whether the transaction held
└── PictureError                the worker cannot read or write this picture
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class UprezError(Exception):
    code: ClassVar[str] = "error"


@dataclass(frozen=True)
class FieldProblem:
    """``field`` broke ``rule``; ``facts`` fill the rule's sentence, e.g. ``{"minimum": 2, "maximum": 4}``."""

    field: str
    rule: str
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)


class InvalidFields(UprezError):
    code = "invalid_fields"

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(", ".join(f"{problem.field}: {problem.rule}" for problem in problems))
        self.problems = tuple(problems)


class Unauthenticated(UprezError):
    code = "unauthenticated"


class WrongCredentials(UprezError):
    code = "wrong_credentials"


class EmailTaken(UprezError):
    code = "email_taken"


class Refused(UprezError):
    code = "refused"


class AbilityMissing(Refused):
    code = "ability_missing"


class EmailNotVerified(Refused):
    code = "email_not_verified"


class SubscriptionLapsed(Refused):
    code = "subscription_lapsed"


class ApiAccessMissing(Refused):
    code = "api_access_missing"


class BatchesMissing(Refused):
    code = "batches_missing"


class QuotaExceeded(Refused):
    code = "quota_exceeded"


class LinkRefused(Refused):
    code = "link_refused"


class TooManyRequests(UprezError):
    code = "too_many_requests"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class TooManyFailedLogins(TooManyRequests):
    code = "too_many_failed_logins"


class NotFound(UprezError):
    code = "not_found"


class NotDownloadable(UprezError):
    code = "not_downloadable"

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Unavailable(UprezError):
    code = "unavailable"


class CommitUnanswered(Unavailable):
    code = "commit_unanswered"


class PictureError(UprezError):
    """The sentence is for the owner of the picture: no paths, no library names."""

    code = "picture_error"
