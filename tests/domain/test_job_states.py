from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from domain import job_states
from domain.job_states import MAX_LOST_ATTEMPTS, Job, NotClaimable, StaleAttempt, Status

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LEASE = timedelta(seconds=20)

CLAIMED = Job(Status.PROCESSING, attempt=1, lease_until=NOW + LEASE)
EXPIRED = Job(Status.PROCESSING, attempt=1, lease_until=NOW)
RELEASED = Job(Status.PROCESSING, attempt=1)
FINISHED = [Job(Status.COMPLETED, attempt=1), Job(Status.FAILED, attempt=1)]

STEPS: list[Callable[[Job, int], Job]] = [
    lambda job, attempt: job_states.renew(job, attempt, NOW, LEASE),
    job_states.release_claim,
    job_states.record_lost_attempt,
    job_states.complete,
    job_states.fail,
]


# --- claim


def test_pending_job_is_claimed_with_a_lease() -> None:
    assert job_states.claim(Job(), NOW, LEASE) == CLAIMED


def test_job_with_a_valid_lease_is_not_claimable() -> None:
    with pytest.raises(NotClaimable):
        job_states.claim(CLAIMED, NOW + LEASE - timedelta(microseconds=1), LEASE)


def test_job_is_claimable_from_the_end_of_its_lease() -> None:
    claimed = job_states.claim(CLAIMED, NOW + LEASE, LEASE)
    assert claimed == Job(Status.PROCESSING, attempt=2, lost=1, lease_until=NOW + 2 * LEASE)


# The image did not cause the shutdown, so the job must not lose an attempt.
def test_released_job_loses_no_attempt() -> None:
    assert job_states.claim(RELEASED, NOW, LEASE) == replace(CLAIMED, attempt=2)


@pytest.mark.parametrize("job", FINISHED)
def test_finished_job_is_never_claimable(job: Job) -> None:
    with pytest.raises(NotClaimable):
        job_states.claim(job, NOW + timedelta(days=365), LEASE)


# The claim that finds the third lease expired fails the job instead of starting a fourth attempt.
def test_claim_after_the_last_lost_attempt_fails_the_job() -> None:
    job = replace(EXPIRED, attempt=MAX_LOST_ATTEMPTS, lost=MAX_LOST_ATTEMPTS - 1)
    failed = job_states.claim(job, NOW, LEASE)
    assert failed == Job(Status.FAILED, attempt=MAX_LOST_ATTEMPTS, lost=MAX_LOST_ATTEMPTS)
    assert failed.status.is_terminal


# --- claimed jobs


def test_renewed_lease_starts_now() -> None:
    later = NOW + timedelta(seconds=15)
    assert job_states.renew(CLAIMED, 1, later, LEASE) == replace(CLAIMED, lease_until=later + LEASE)


# A worker that renews late goes on if no other worker has claimed the job.
def test_expired_lease_can_be_renewed() -> None:
    assert job_states.renew(EXPIRED, 1, NOW, LEASE) == CLAIMED


@pytest.mark.parametrize("job", [CLAIMED, EXPIRED])
def test_complete_and_fail_are_final_and_end_the_lease(job: Job) -> None:
    assert job_states.complete(job, 1) == Job(Status.COMPLETED, attempt=1)
    assert job_states.fail(job, 1) == Job(Status.FAILED, attempt=1)


def test_released_job_is_claimable_immediately() -> None:
    released = job_states.release_claim(CLAIMED, 1)
    assert released == RELEASED
    assert job_states.is_claimable(released, NOW)


def test_lost_attempt_is_counted_and_job_is_claimable() -> None:
    lost = job_states.record_lost_attempt(CLAIMED, 1)
    assert lost == replace(RELEASED, lost=1)
    assert job_states.is_claimable(lost, NOW)


def test_last_lost_attempt_fails_the_job() -> None:
    job = replace(CLAIMED, lost=MAX_LOST_ATTEMPTS - 1)
    assert job_states.record_lost_attempt(job, 1) == Job(Status.FAILED, attempt=1, lost=MAX_LOST_ATTEMPTS)


# --- stale attempts


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_stale_attempt_is_rejected(step: Callable[[Job, int], Job], attempt: int) -> None:
    with pytest.raises(StaleAttempt):
        step(replace(CLAIMED, attempt=2), attempt)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("job", [*FINISHED, Job(), Job(attempt=1)])
def test_step_of_a_job_that_is_not_claimed_is_rejected(step: Callable[[Job, int], Job], job: Job) -> None:
    with pytest.raises(StaleAttempt):
        step(job, 1)


def test_terminal_statuses_are_completed_and_failed() -> None:
    assert [status.value for status in Status if status.is_terminal] == ["completed", "failed"]
    assert [status.value for status in Status if not status.is_terminal] == ["pending", "processing"]
