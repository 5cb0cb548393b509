"""Everything the rules can refuse, as codes; what a client reads is decided in ``handlers/transport/envelope.py``.

UprezError
├── InvalidFields               one or more fields are wrong; carries a FieldProblem for each
├── Unauthenticated             no token, or one that is unknown, revoked or expired
├── WrongCredentials            the e-mail address or the password is wrong; nothing says which
├── EmailTaken                  another account has the address
├── Denied                      the client is known and not allowed
│   ├── AbilityMissing
│   ├── EmailNotVerified
│   ├── SubscriptionLapsed
│   ├── ApiAccessMissing
│   ├── BatchesMissing          the plan does not include batches
│   ├── QuotaExceeded
│   └── InvalidLink             a signed link that was changed or has expired
├── TooManyRequests             the hourly limit is reached; carries the seconds until it is not
│   └── TooManyFailedLogins
├── NotFound                    nothing there, or nothing of this account's
├── NotDownloadable             the image exists and has no result (yet)
├── Unavailable                 something we need is not there at the moment
│   └── CommitUncertain         whether the transaction was committed is unknown
└── InvalidImage                the worker cannot read or write this image
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


class Denied(UprezError):
    code = "denied"


class AbilityMissing(Denied):
    code = "ability_missing"


class EmailNotVerified(Denied):
    code = "email_not_verified"


class SubscriptionLapsed(Denied):
    code = "subscription_lapsed"


class ApiAccessMissing(Denied):
    code = "api_access_missing"


class BatchesMissing(Denied):
    code = "batches_missing"


class QuotaExceeded(Denied):
    code = "quota_exceeded"


class InvalidLink(Denied):
    code = "invalid_link"


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


class CommitUncertain(Unavailable):
    code = "commit_uncertain"


class InvalidImage(UprezError):
    """The sentence is for the owner of the picture: no paths, no library names."""

    code = "invalid_image"
