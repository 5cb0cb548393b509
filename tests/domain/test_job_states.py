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

AT_WORK = Job(Status.PROCESSING, attempt=1, lease_until=NOW + LEASE)
ABANDONED = Job(Status.PROCESSING, attempt=1, lease_until=NOW)
HANDED_BACK = Job(Status.PROCESSING, attempt=1)
FINISHED = [Job(Status.COMPLETED, attempt=1), Job(Status.FAILED, attempt=1)]

STEPS: list[Callable[[Job, int], Job]] = [
    lambda job, attempt: job_states.renew(job, attempt, NOW, LEASE),
    job_states.release,
    job_states.record_lost_attempt,
    job_states.complete,
    job_states.fail,
]


# --- claiming


def test_a_pending_job_is_claimed_for_the_length_of_a_lease() -> None:
    assert job_states.claim(Job(), NOW, LEASE) == AT_WORK


def test_a_job_at_work_is_not_claimed_a_second_time() -> None:
    with pytest.raises(NotClaimable):
        job_states.claim(AT_WORK, NOW + LEASE - timedelta(microseconds=1), LEASE)


def test_a_job_is_claimable_from_the_instant_in_which_its_lease_runs_out() -> None:
    claimed = job_states.claim(AT_WORK, NOW + LEASE, LEASE)
    assert claimed == Job(Status.PROCESSING, attempt=2, lost=1, lease_until=NOW + 2 * LEASE)


# A shutdown is not the picture's fault: it must not bring the job nearer to being given up.
def test_a_job_that_was_handed_back_is_claimed_without_losing_an_attempt() -> None:
    assert job_states.claim(HANDED_BACK, NOW, LEASE) == replace(AT_WORK, attempt=2)


@pytest.mark.parametrize("job", FINISHED)
def test_a_finished_job_is_never_claimed(job: Job) -> None:
    with pytest.raises(NotClaimable):
        job_states.claim(job, NOW + timedelta(days=365), LEASE)


# The claim that finds the third lease run out does not try a fourth time: it tells that it is over.
def test_the_claim_after_the_last_lost_attempt_fails_the_job() -> None:
    job = replace(ABANDONED, attempt=MAX_LOST_ATTEMPTS, lost=MAX_LOST_ATTEMPTS - 1)
    given_up = job_states.claim(job, NOW, LEASE)
    assert given_up == Job(Status.FAILED, attempt=MAX_LOST_ATTEMPTS, lost=MAX_LOST_ATTEMPTS)
    assert given_up.status.terminal


# --- while at work


def test_renewing_counts_the_lease_from_now() -> None:
    background = NOW + timedelta(seconds=15)
    assert job_states.renew(AT_WORK, 1, background, LEASE) == replace(AT_WORK, lease_until=background + LEASE)


# A worker that was slow to renew and finds nobody else at its job simply goes on.
def test_a_lease_that_ran_out_unnoticed_can_still_be_renewed() -> None:
    assert job_states.renew(ABANDONED, 1, NOW, LEASE) == AT_WORK


@pytest.mark.parametrize("job", [AT_WORK, ABANDONED])
def test_completing_and_failing_are_final_and_free_the_lease(job: Job) -> None:
    assert job_states.complete(job, 1) == Job(Status.COMPLETED, attempt=1)
    assert job_states.fail(job, 1) == Job(Status.FAILED, attempt=1)


def test_handing_back_makes_it_claimable_at_once() -> None:
    handed_back = job_states.release(AT_WORK, 1)
    assert handed_back == HANDED_BACK
    assert job_states.is_claimable(handed_back, NOW)


def test_losing_makes_it_claimable_at_once_and_counts() -> None:
    lost = job_states.record_lost_attempt(AT_WORK, 1)
    assert lost == replace(HANDED_BACK, lost=1)
    assert job_states.is_claimable(lost, NOW)


def test_losing_the_last_attempt_fails_the_job() -> None:
    job = replace(AT_WORK, lost=MAX_LOST_ATTEMPTS - 1)
    assert job_states.record_lost_attempt(job, 1) == Job(Status.FAILED, attempt=1, lost=MAX_LOST_ATTEMPTS)


# --- the fence


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_only_the_current_attempt_counts(step: Callable[[Job, int], Job], attempt: int) -> None:
    with pytest.raises(StaleAttempt):
        step(replace(AT_WORK, attempt=2), attempt)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("job", [*FINISHED, Job(), Job(attempt=1)])
def test_no_step_is_taken_from_a_job_that_is_not_at_work(step: Callable[[Job, int], Job], job: Job) -> None:
    with pytest.raises(StaleAttempt):
        step(job, 1)


def test_completed_and_failed_are_the_states_at_the_end() -> None:
    assert [status.value for status in Status if status.terminal] == ["completed", "failed"]
    assert [status.value for status in Status if not status.terminal] == ["pending", "processing"]
