"""The states of one batch, as pure functions from one state to the next.

    pending ──first claim──▶ processing ──last image finishes──▶ completed | partially_failed | failed
       └──────────────────────────┴─────────────cancel─────────▶ cancelled

The counters never decrease; an image that is deleted before it is finished counts as failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.job_states import Status


class BatchStatus(StrEnum):
    """The status of a batch."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Return whether no further step is possible."""
        return self not in {BatchStatus.PENDING, BatchStatus.PROCESSING}


@dataclass(frozen=True)
class BatchState:
    """The status and counters of a batch; ``total`` is the number of uploaded images, deleted ones included."""

    total: int
    status: BatchStatus = BatchStatus.PENDING
    completed: int = 0
    failed: int = 0

    @property
    def progress(self) -> int:
        """Return the share of finished images in whole percent, rounded down."""
        return 100 * (self.completed + self.failed) // self.total


def count_image(state: BatchState, status: Status) -> BatchState:
    """Return the state of an unfinished batch after one of its images has changed to ``status``.

    Call it once for each finished image: it is counted, and the last one finishes the batch. An unfinished
    image makes the batch processing.
    """
    assert not state.status.is_terminal, state
    match status:
        case Status.COMPLETED:
            return _finish_if_last(replace(state, completed=state.completed + 1))
        case Status.FAILED:
            return _finish_if_last(replace(state, failed=state.failed + 1))
        case _:
            return replace(state, status=BatchStatus.PROCESSING)


def cancel(state: BatchState) -> BatchState:
    """Return the cancelled batch: every unfinished image counts as failed."""
    return replace(state, status=BatchStatus.CANCELLED, failed=state.total - state.completed)


def _finish_if_last(state: BatchState) -> BatchState:
    """Return the state, with its final status if all images are counted."""
    if state.completed + state.failed < state.total:
        return state
    if state.failed == 0:
        return replace(state, status=BatchStatus.COMPLETED)
    return replace(state, status=BatchStatus.PARTIALLY_FAILED if state.completed else BatchStatus.FAILED)
