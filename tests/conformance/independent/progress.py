"""Status and progress of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from independent.state import State

if TYPE_CHECKING:
    from independent.records import StoredBatch


class BatchProgress(State):
    """The values of a batch that follow from its images."""

    def batch_status(self, batch: StoredBatch) -> str:
        """Return the status of the batch."""
        if batch.cancelled:
            return "cancelled"
        if batch.completed + batch.failed < batch.total:
            return "processing" if batch.has_started else "pending"
        if batch.failed == 0:
            return "completed"
        return "partially_failed" if batch.completed else "failed"

    def batch_progress(self, batch: StoredBatch) -> int:
        """Return the finished images in percent, rounded down."""
        return 100 * (batch.completed + batch.failed) // batch.total

    def record_batch_change(self, batch: StoredBatch) -> None:
        """Set the batch's time of change and, once it is finished, its time of completion."""
        batch.updated_at = self.now()
        if batch.completed_at is None and self.batch_status(batch) not in {"pending", "processing"}:
            batch.completed_at = batch.updated_at
