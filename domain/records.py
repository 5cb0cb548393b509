"""Records: the rows of the database in the form that the domain uses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from domain.batch_states import BatchState, BatchStatus
    from domain.formats import ImageFormat
    from domain.job_states import Job, Status
    from domain.sizing import Size, Sizing


class SubscriptionStatus(StrEnum):
    """The status of a subscription."""

    ACTIVE = "active"
    TRIAL = "trial"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class Subscription:
    """An account's subscription; ``status`` is what the operator set, and ``status_at`` applies the end dates to it."""

    id: int
    status: SubscriptionStatus
    trial_ends_at: datetime | None
    ends_at: datetime | None
    created_at: datetime

    def status_at(self, now: datetime) -> SubscriptionStatus:
        """Return the status at this time: lapsed from an end date on, but a cancelled one stays cancelled."""
        has_ended = any(end is not None and end <= now for end in (self.trial_ends_at, self.ends_at))
        if has_ended and self.status is not SubscriptionStatus.CANCELLED:
            return SubscriptionStatus.LAPSED
        return self.status

    def is_active(self, now: datetime) -> bool:
        """Return whether the account may use its plan: it is active, on trial or in the grace period."""
        return self.status_at(now) in {
            SubscriptionStatus.ACTIVE,
            SubscriptionStatus.TRIAL,
        } or self.is_on_grace_period(now)

    def is_on_trial(self, now: datetime) -> bool:
        """Return whether a trial is running."""
        return self.status_at(now) is SubscriptionStatus.TRIAL

    def is_on_grace_period(self, now: datetime) -> bool:
        """Return whether the subscription is cancelled and its paid time has not ended yet."""
        cancelled = self.status is SubscriptionStatus.CANCELLED
        return cancelled and self.ends_at is not None and self.ends_at > now


@dataclass(frozen=True)
class Account:
    """A user's account; ``plan`` is the slug of its plan."""

    id: int
    name: str
    email: str
    password_hash: str
    email_verified_at: datetime | None
    plan: str
    images_per_month: int | None  # overrides the plan's limit; -1 is unlimited, as in the plans file
    subscription: Subscription | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Token:
    """A bearer token; only the digest of its secret is stored."""

    id: int
    account_id: int
    name: str
    secret_sha256: str
    abilities: tuple[str, ...]
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Principal:
    """The authenticated account of a request, and its token."""

    account: Account
    token: Token
    used_this_month: int = 0  # images of the monthly quota, at the time of authentication


@dataclass(frozen=True)
class Result:
    """The upscaled image; ``bytes`` is the size of its file, ``seconds`` the processing time."""

    key: str
    bytes: int
    size: Size
    seconds: float
    model: str
    device: str


@dataclass(frozen=True)
class Image:
    """An uploaded image, its job and its result."""

    id: int
    account_id: int
    batch_id: int | None
    filename: str
    original_key: str
    original_bytes: int
    original_size: Size
    image_format: ImageFormat
    sizing: Sizing
    model_choice: str | None  # a value of ``domain/model_choices.py``; None: auto
    api_request: bool
    job: Job
    progress: int  # whole percent
    result: Result | None
    error: str | None
    quota_month: str  # the month in which its quota was reserved, such as 2026-11
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> Status:
        return self.job.status

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys of the image's files in the object store."""
        return (self.original_key,) if self.result is None else (self.original_key, self.result.key)


@dataclass(frozen=True)
class NewImage:
    """An image that is not stored yet."""

    account_id: int
    filename: str
    original_key: str
    original_bytes: int
    original_size: Size
    image_format: ImageFormat
    sizing: Sizing
    api_request: bool
    quota_month: str
    batch_id: int | None = None
    model_choice: str | None = None


@dataclass(frozen=True)
class Batch:
    """Images that were submitted together, without the images themselves."""

    id: int
    account_id: int
    name: str | None
    state: BatchState
    sizing: Sizing
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None

    @property
    def status(self) -> BatchStatus:
        return self.state.status


class BatchWithImages(NamedTuple):
    """A batch with those of its images that were not deleted, in the order in which they were sent."""

    batch: Batch
    images: list[Image]
