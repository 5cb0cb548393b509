"""What the tables hold, as the rules see it."""

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
    ACTIVE = "active"
    TRIAL = "trial"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class Subscription:
    """``status`` is the operator's word; what has ended since is lapsed, as ``at`` tells."""

    id: int
    status: SubscriptionStatus
    trial_ends_at: datetime | None
    ends_at: datetime | None
    created_at: datetime

    def at(self, now: datetime) -> SubscriptionStatus:
        """A cancelled one stays cancelled after its end: whether it still counts is ``is_active``."""
        over = any(end is not None and end <= now for end in (self.trial_ends_at, self.ends_at))
        if over and self.status is not SubscriptionStatus.CANCELLED:
            return SubscriptionStatus.LAPSED
        return self.status

    def is_active(self, now: datetime) -> bool:
        """Whether the plan is to be had."""
        return self.at(now) in {
            SubscriptionStatus.ACTIVE,
            SubscriptionStatus.TRIAL,
        } or self.is_on_grace_period(now)

    def is_on_trial(self, now: datetime) -> bool:
        return self.at(now) is SubscriptionStatus.TRIAL

    def is_on_grace_period(self, now: datetime) -> bool:
        """Cancelled, and paid for until an end that is still to come."""
        cancelled = self.status is SubscriptionStatus.CANCELLED
        return cancelled and self.ends_at is not None and self.ends_at > now


@dataclass(frozen=True)
class Account:
    id: int
    name: str
    email: str
    password_hash: str
    email_verified_at: datetime | None
    plan: str
    images_per_month: int | None  # instead of the plan's; -1 is unlimited, as in the plans file
    subscription: Subscription | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Token:
    id: int
    account_id: int
    name: str
    secret_sha256: str
    abilities: tuple[str, ...]
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Principal:
    """Who asks, and with which token."""

    account: Account
    token: Token
    used_this_month: int = 0  # of the monthly quota, when it was found out who asks


@dataclass(frozen=True)
class Result:
    """The upscaled picture; ``bytes`` is the size of its file, ``seconds`` the work it took."""

    key: str
    bytes: int
    size: Size
    seconds: float
    model: str
    device: str


@dataclass(frozen=True)
class Image:
    id: int
    account_id: int
    batch_id: int | None
    filename: str
    original_key: str
    original_bytes: int
    original_size: Size
    image_format: ImageFormat
    sizing: Sizing
    model_choice: str | None  # a word of ``domain/model_choices.py``; None: auto
    api_request: bool
    job: Job
    progress: int  # whole percent
    result: Result | None
    error: str | None
    quota_month: str
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> Status:
        return self.job.status

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its files in the store."""
        return (self.original_key,) if self.result is None else (self.original_key, self.result.key)


@dataclass(frozen=True)
class NewImage:
    """What is known of an image before it has a row."""

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


class WholeBatch(NamedTuple):
    """A batch and those of its images that are still there, in the order in which they were sent."""

    batch: Batch
    images: list[Image]
