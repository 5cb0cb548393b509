"""Times."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from independent.server import Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.pictures import Film
    from independent.records import StoredBatch, StoredImage


@mutant("times-have-no-zone", kills=["TIME-001"])
class NoZone(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        text = super().time_text(moment)
        return text.removesuffix("Z") if text else None


@mutant("times-have-no-decimals", kills=["TIME-002"])
class NoDecimals(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


@mutant("an-upload-is-updated-before-it-is-created", kills=["TIME-003"])
class UpdatedBefore(Server):
    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        before = self.time_text(image.created_at - timedelta(milliseconds=1))
        return super().uploaded_data(image) | {"updated_at": before}


@mutant("processing-time-is-in-milliseconds", kills=["TIME-004"])
class Milliseconds(Server):
    def complete(self, image: StoredImage, film: Film, content: bytes) -> None:
        super().complete(image, film, content)
        image.processing_time = 1000 * max(image.processing_time or 0, 0.01)


@mutant("local-time-is-called-utc", kills=["TIME-005"])
class LocalTime(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return super().time_text(moment + timedelta(hours=5, minutes=30) if moment else None)


@mutant("a-batch-ends-before-it-begins", kills=["TIME-006"])
class EndBeforeBeginning(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        data = super().batch_data(batch)
        ended = batch.completed_at and self.time_text(batch.created_at - timedelta(hours=1))
        return data | {"completed_at": ended}
