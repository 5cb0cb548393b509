"""The life of one batch, told by its images: pure functions from one state to the next.

    pending ──first claim──▶ processing ──the last image ends──▶ completed | partially_failed | failed
       └──────────────────────────┴─────────────cancel─────────▶ cancelled

Counters tell what happened and only grow; an image that is deleted before its end counts as failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.job_states import Status


class BatchStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self not in {BatchStatus.PENDING, BatchStatus.PROCESSING}


@dataclass(frozen=True)
class BatchState:
    """``total`` is how many images were uploaded, those deleted since included."""

    total: int
    status: BatchStatus = BatchStatus.PENDING
    completed: int = 0
    failed: int = 0

    @property
    def progress(self) -> int:
        """Finished images among all, in whole percent, rounded down."""
        return 100 * (self.completed + self.failed) // self.total


def image_moved(state: BatchState, status: Status) -> BatchState:
    """One image of an unfinished batch was claimed or has ended: ``status`` is what it is now."""
    assert not state.status.terminal, state
    match status:
        case Status.COMPLETED:
            return _ended(replace(state, completed=state.completed + 1))
        case Status.FAILED:
            return _ended(replace(state, failed=state.failed + 1))
        case _:
            return replace(state, status=BatchStatus.PROCESSING)


def cancel(state: BatchState) -> BatchState:
    """Whatever had not ended has failed."""
    return replace(state, status=BatchStatus.CANCELLED, failed=state.total - state.completed)


def _ended(state: BatchState) -> BatchState:
    if state.completed + state.failed < state.total:
        return state
    if state.failed == 0:
        return replace(state, status=BatchStatus.COMPLETED)
    return replace(state, status=BatchStatus.PARTIALLY_FAILED if state.completed else BatchStatus.FAILED)
