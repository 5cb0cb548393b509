"""The states of one image's job, as pure functions from one state to the next.

    pending ──claim──▶ processing ──complete──▶ completed
                           │  ▲
                           │  └─claim again: the lease has expired, or the job was released
                           └──fail, or too many lost attempts──▶ failed

    pending, processing ──cancel──▶ failed

A job is never pending again. The attempt number is a fencing token: a worker that lost its claim has an old number, and its steps are rejected. The
database applies a step only if the row is still in the state that the step started from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from domain.errors import UprezError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

MAX_LOST_ATTEMPTS = 3
"""An image that ended three workers would very likely end the fourth too."""


class Status(StrEnum):
    """The status of an image."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Return whether no further step is possible."""
        return self in {Status.COMPLETED, Status.FAILED}


class NotClaimable(UprezError):
    """The job is finished, or another worker has claimed it: the message in the queue is outdated."""

    code = "not_claimable"


class StaleAttempt(UprezError):
    """The job is finished, or another attempt has claimed it: the result of this attempt is discarded."""

    code = "stale_attempt"


@dataclass(frozen=True)
class Job:
    """``attempt`` counts the claims, ``lost`` counts the claims that ended without a result.

    A job that is processing with ``lease_until`` None was released: any worker may claim it.
    """

    status: Status = Status.PENDING
    attempt: int = 0
    lost: int = 0
    lease_until: datetime | None = None

    @property
    def is_exhausted(self) -> bool:
        """Return whether too many attempts were lost to try again."""
        return self.lost >= MAX_LOST_ATTEMPTS


def is_claimable(job: Job, now: datetime) -> bool:
    """Return whether the job is pending, released, or has an expired lease."""
    if job.status is Status.PROCESSING:
        return job.lease_until is None or job.lease_until <= now
    return job.status is Status.PENDING


def claim(job: Job, now: datetime, lease: timedelta) -> Job:
    """Return the job with its next attempt, or the failed job if the expired attempt was the last one.

    An expired lease counts as a lost attempt, a released job does not. Raise NotClaimable if the job is
    finished or has an unexpired lease.
    """
    if not is_claimable(job, now):
        raise NotClaimable
    if job.lease_until is not None:
        job = _count_lost_attempt(job)
    if job.status is Status.FAILED:
        return job
    return replace(job, status=Status.PROCESSING, attempt=job.attempt + 1, lease_until=now + lease)


def renew(job: Job, attempt: int, now: datetime, lease: timedelta) -> Job:
    """Return the job with a lease that starts now. Raise StaleAttempt."""
    return replace(_require_current(job, attempt), lease_until=now + lease)


def release_claim(job: Job, attempt: int) -> Job:
    """Return the job claimable again, with no attempt lost, for example at a shutdown. Raise StaleAttempt."""
    return replace(_require_current(job, attempt), lease_until=None)


def record_lost_attempt(job: Job, attempt: int) -> Job:
    """Return the job claimable again with one more attempt lost, or failed after the last one.

    Use it after the engine crashed or hung. Raise StaleAttempt.
    """
    return _count_lost_attempt(_require_current(job, attempt))


def complete(job: Job, attempt: int) -> Job:
    """Return the completed job. Raise StaleAttempt."""
    return replace(_require_current(job, attempt), status=Status.COMPLETED, lease_until=None)


def fail(job: Job, attempt: int) -> Job:
    """Return the failed job. Raise StaleAttempt."""
    return replace(_require_current(job, attempt), status=Status.FAILED, lease_until=None)


def cancel(job: Job) -> Job:
    """Return the failed job, whichever attempt is current; a worker's claim on it ends."""
    return replace(job, status=Status.FAILED, lease_until=None)


def _require_current(job: Job, attempt: int) -> Job:
    """Return the job if this attempt is its current one. Raise StaleAttempt."""
    # An expired lease alone is no reason to reject: if no other worker has claimed the job, the result is valid.
    if job.status is not Status.PROCESSING or job.attempt != attempt:
        raise StaleAttempt
    return job


def _count_lost_attempt(job: Job) -> Job:
    """Return the job without a lease and with one more attempt lost; failed if no attempt is left."""
    job = replace(job, lost=job.lost + 1, lease_until=None)
    return replace(job, status=Status.FAILED) if job.is_exhausted else job
