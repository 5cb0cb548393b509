"""Mutants of the TIME requirements: timestamps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from independent.server import Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.records import StoredBatch, StoredImage


@mutant("timestamps-without-time-zone", kills=["TIME-001"])
class TimestampsWithoutTimeZone(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        text = super().time_text(moment)
        return text.removesuffix("Z") if text else None


@mutant("timestamps-without-fraction", kills=["TIME-002"])
class TimestampsWithoutFraction(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


@mutant("updated-at-before-created-at", kills=["TIME-003"])
class UpdatedAtBeforeCreatedAt(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        earlier = self.time_text(image.created_at - timedelta(milliseconds=1))
        return super().uploaded_data(image) | {"updated_at": earlier}


@mutant("processing-time-in-milliseconds", kills=["TIME-004"])
class ProcessingTimeInMilliseconds(Server):
    def complete_image(self, image: StoredImage, decoded: DecodedImage, content: bytes) -> None:
        super().complete_image(image, decoded, content)
        image.processing_time = 1000 * max(image.processing_time or 0, 0.01)


@mutant("local-time-labelled-utc", kills=["TIME-005"])
class LocalTimeLabelledUtc(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return super().time_text(moment + timedelta(hours=5, minutes=30) if moment else None)


@mutant("completed-at-before-created-at", kills=["TIME-006"])
class CompletedAtBeforeCreatedAt(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        data = super().batch_data(batch)
        completed_at = batch.completed_at and self.time_text(batch.created_at - timedelta(hours=1))
        return data | {"completed_at": completed_at}
