"""The errors of the domain, each with a stable code; ``handlers/transport/envelope.py`` maps them to responses.

EmailTaken and InvalidImage become a FieldProblem, or the error of an image, before that.

Errors of a part of the domain, such as PlansError, NotClaimable and DatabaseUnusable, are in the module of that part.

UprezError
├── InvalidFields               one or more fields are wrong; carries a FieldProblem for each
├── Unauthenticated             no token, or one that is unknown, revoked or expired
├── WrongCredentials            the email address or the password is wrong; the error does not say which
├── EmailTaken                  another account has the address
├── Denied                      the client is authenticated and lacks a permission
│   ├── AbilityMissing
│   ├── EmailNotVerified
│   ├── SubscriptionLapsed
│   ├── ApiAccessMissing
│   ├── BatchesMissing          the plan does not include batches
│   ├── QuotaExceeded
│   └── InvalidLink             a signed link that was changed or has expired
├── TooManyRequests             a rate limit is reached; carries the seconds until it resets
│   └── TooManyFailedLogins
├── NotFound                    the object does not exist, or belongs to another account
├── NotDownloadable             the image exists and has no result (yet)
├── Unavailable                 a service that Uprez needs cannot be reached at the moment
│   └── CommitUncertain         the connection was lost during COMMIT, so its outcome is unknown
└── InvalidImage                the probe of the API or the engine cannot read this image, or not write its result
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class UprezError(Exception):
    """The root of the domain's errors."""

    code: ClassVar[str] = "error"


@dataclass(frozen=True)
class FieldProblem:
    """A field that violates a rule; ``facts`` fill in the rule's message, e.g. ``{"minimum": 2, "maximum": 4}``."""

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
    """The image cannot be read or written; the message is for its owner, without paths or library names."""

    code = "invalid_image"
