from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import batch_states
from domain.batch_states import BatchState, BatchStatus
from domain.job_states import Status

NEW = BatchState(total=3)
TERMINAL = [status for status in Status if status.is_terminal]


def test_only_the_first_claim_changes_a_batch() -> None:
    started = batch_states.count_image(NEW, Status.PROCESSING)
    assert started == replace(NEW, status=BatchStatus.PROCESSING)
    assert batch_states.count_image(started, Status.PROCESSING) == started


def test_finished_images_are_counted() -> None:
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
def test_last_finished_image_finishes_the_batch(ends: list[Status], status: BatchStatus) -> None:
    state = batch_states.count_image(NEW, Status.PROCESSING)
    for end in ends[:-1]:
        state = batch_states.count_image(state, end)
        assert state.status is BatchStatus.PROCESSING
    assert batch_states.count_image(state, ends[-1]).status is status


# All images were deleted before a worker claimed one.
def test_batch_can_finish_without_a_claim() -> None:
    state = NEW
    for _ in range(3):
        assert state.status is BatchStatus.PENDING
        state = batch_states.count_image(state, Status.FAILED)
    assert state.status is BatchStatus.FAILED


def test_cancel_fails_unfinished_images() -> None:
    state = BatchState(5, BatchStatus.PROCESSING, completed=2, failed=1)
    assert batch_states.cancel(state) == BatchState(5, BatchStatus.CANCELLED, completed=2, failed=3)


@pytest.mark.parametrize(
    ("total", "finished", "percent"),
    [(3, 0, 0), (3, 1, 33), (3, 2, 66), (3, 3, 100), (20, 19, 95), (1, 1, 100)],
)
def test_progress_is_rounded_down(total: int, finished: int, percent: int) -> None:
    assert BatchState(total, BatchStatus.PROCESSING, failed=finished).progress == percent


# A step of a finished batch would mean that an image was counted twice.
@pytest.mark.parametrize("status", [status for status in BatchStatus if status.is_terminal])
def test_finished_batch_cannot_change(status: BatchStatus) -> None:
    with pytest.raises(AssertionError):
        batch_states.count_image(BatchState(1, status, completed=1), Status.COMPLETED)


def test_terminal_statuses_are_the_last_four() -> None:
    assert [status.value for status in BatchStatus if status.is_terminal] == [
        "completed",
        "partially_failed",
        "failed",
        "cancelled",
    ]


@given(st.lists(st.sampled_from([Status.PROCESSING, *TERMINAL]), max_size=40), st.integers(1, 20))
def test_counters_only_grow_up_to_the_total(moves: list[Status], total: int) -> None:
    state = BatchState(total)
    for move in moves:
        if state.status.is_terminal:
            break
        after = batch_states.count_image(state, move)
        assert after.completed >= state.completed
        assert after.failed >= state.failed
        assert after.progress >= state.progress
        assert after.completed + after.failed <= total
        assert (after.completed + after.failed == total) is after.status.is_terminal
        state = after
