from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import batch_states
from domain.batch_states import BatchState, BatchStatus
from domain.job_states import Status

NEW = BatchState(total=3)
ENDS = [status for status in Status if status.terminal]


def test_the_first_claim_begins_a_batch_and_the_next_changes_nothing() -> None:
    begun = batch_states.count_image(NEW, Status.PROCESSING)
    assert begun == replace(NEW, status=BatchStatus.PROCESSING)
    assert batch_states.count_image(begun, Status.PROCESSING) == begun


def test_images_that_end_are_counted() -> None:
    state = replace(NEW, status=BatchStatus.PROCESSING)
    state = batch_states.count_image(state, Status.COMPLETED)
    assert state == BatchState(3, BatchStatus.PROCESSING, completed=1)
    state = batch_states.count_image(state, Status.FAILED)
    assert state == BatchState(3, BatchStatus.PROCESSING, completed=1, failed=1)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([Status.COMPLETED] * 3, BatchStatus.COMPLETED),
        ([Status.FAILED] * 3, BatchStatus.FAILED),
        ([Status.COMPLETED, Status.FAILED, Status.FAILED], BatchStatus.PARTIALLY_FAILED),
        ([Status.FAILED, Status.COMPLETED, Status.COMPLETED], BatchStatus.PARTIALLY_FAILED),
    ],
)
def test_the_last_image_to_end_ends_the_batch(ends: list[Status], status: BatchStatus) -> None:
    state = batch_states.count_image(NEW, Status.PROCESSING)
    for end in ends[:-1]:
        state = batch_states.count_image(state, end)
        assert state.status is BatchStatus.PROCESSING
    assert batch_states.count_image(state, ends[-1]).status is status


# All of them were deleted before anybody began: nothing is left to wait for.
def test_a_batch_can_end_before_it_was_begun() -> None:
    state = NEW
    for _ in range(3):
        assert state.status is BatchStatus.PENDING
        state = batch_states.count_image(state, Status.FAILED)
    assert state.status is BatchStatus.FAILED


def test_cancelling_fails_whatever_had_not_ended() -> None:
    state = BatchState(5, BatchStatus.PROCESSING, completed=2, failed=1)
    assert batch_states.cancel(state) == BatchState(5, BatchStatus.CANCELLED, completed=2, failed=3)


@pytest.mark.parametrize(
    ("total", "finished", "percent"),
    [(3, 0, 0), (3, 1, 33), (3, 2, 66), (3, 3, 100), (20, 19, 95), (1, 1, 100)],
)
def test_progress_is_rounded_down(total: int, finished: int, percent: int) -> None:
    assert BatchState(total, BatchStatus.PROCESSING, failed=finished).progress == percent


# A step after the end would mean that an image was counted twice.
@pytest.mark.parametrize("status", [status for status in BatchStatus if status.terminal])
def test_nothing_moves_after_the_end(status: BatchStatus) -> None:
    with pytest.raises(AssertionError):
        batch_states.count_image(BatchState(1, status, completed=1), Status.COMPLETED)


def test_the_states_at_the_end_are_the_last_four() -> None:
    assert [status.value for status in BatchStatus if status.terminal] == [
        "completed",
        "partially_failed",
        "failed",
        "cancelled",
    ]


@given(st.lists(st.sampled_from([Status.PROCESSING, *ENDS]), max_size=40), st.integers(1, 20))
def test_counters_and_progress_only_grow_and_never_pass_the_total(moves: list[Status], total: int) -> None:
    state = BatchState(total)
    for move in moves:
        if state.status.terminal:
            break
        after = batch_states.count_image(state, move)
        assert after.completed >= state.completed
        assert after.failed >= state.failed
        assert after.progress >= state.progress
        assert after.completed + after.failed <= total
        assert (after.completed + after.failed == total) is after.status.terminal
        state = after
