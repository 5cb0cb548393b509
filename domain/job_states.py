"""The life of one image's job, as pure functions from one state to the next.

    pending ──claim──▶ processing ──complete──▶ completed
       ▲ never back        │  ▲
                           │  └─claim again: the lease ran out, or the job was handed back
                           └──fail, or too many lost attempts──▶ failed
       └───────────┴──cancel──▶ failed

The attempt number is the fence: whoever was thought dead holds an old number, and nothing it says
counts any more. The database takes a step only if the row still is what the step started from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from domain.errors import UprezError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

MAX_LOST_ATTEMPTS = 3
"""A picture that took three workers with it would take the fourth as well."""


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self in {Status.COMPLETED, Status.FAILED}


class NotClaimable(UprezError):
    """Finished, or at work elsewhere: the message that asked was late."""

    code = "not_claimable"


class StaleAttempt(UprezError):
    """Another attempt has the job, or it is over: this worker's result must not be seen."""

    code = "stale_attempt"


@dataclass(frozen=True)
class Job:
    """``attempt`` counts claims, ``lost`` the claims that ended without a word.

    While processing, ``lease_until`` None means that nobody works on it and anybody may claim it.
    """

    status: Status = Status.PENDING
    attempt: int = 0
    lost: int = 0
    lease_until: datetime | None = None

    @property
    def given_up(self) -> bool:
        return self.lost >= MAX_LOST_ATTEMPTS


def is_claimable(job: Job, now: datetime) -> bool:
    if job.status is Status.PROCESSING:
        return job.lease_until is None or job.lease_until <= now
    return job.status is Status.PENDING


def claim(job: Job, now: datetime, lease: timedelta) -> Job:
    """The next attempt; or the failed job, when the attempt that just ran out was one too many.

    Raises NotClaimable.
    """
    if not is_claimable(job, now):
        raise NotClaimable
    if job.lease_until is not None:
        job = _lost(job)
    if job.status is Status.FAILED:
        return job
    return replace(job, status=Status.PROCESSING, attempt=job.attempt + 1, lease_until=now + lease)


def renew(job: Job, attempt: int, now: datetime, lease: timedelta) -> Job:
    """Raises StaleAttempt, as do the functions below."""
    return replace(_held(job, attempt), lease_until=now + lease)


def hand_back(job: Job, attempt: int) -> Job:
    """Unfinished through nobody's fault (a shutdown): claimable at once, and no attempt lost."""
    return replace(_held(job, attempt), lease_until=None)


def lose(job: Job, attempt: int) -> Job:
    """The engine died or hung on it: claimable at once, or failed if that was once too often."""
    return _lost(_held(job, attempt))


def complete(job: Job, attempt: int) -> Job:
    return replace(_held(job, attempt), status=Status.COMPLETED, lease_until=None)


def fail(job: Job, attempt: int) -> Job:
    return replace(_held(job, attempt), status=Status.FAILED, lease_until=None)


def cancel(job: Job) -> Job:
    """Whoever is at work on it holds nothing any more."""
    return replace(job, status=Status.FAILED, lease_until=None)


def _held(job: Job, attempt: int) -> Job:
    # An expired lease alone is no reason to refuse: as long as nobody else has claimed the job,
    # the work that was done is good work.
    if job.status is not Status.PROCESSING or job.attempt != attempt:
        raise StaleAttempt
    return job


def _lost(job: Job) -> Job:
    job = replace(job, lost=job.lost + 1, lease_until=None)
    return replace(job, status=Status.FAILED) if job.given_up else job
