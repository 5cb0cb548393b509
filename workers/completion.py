"""The end of a successful attempt: the row gets the result, or the result's file is deleted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from domain import jobs
from domain.errors import Unavailable

if TYPE_CHECKING:
    from threading import Event

    from domain.records import Image, Result
    from domain.services import Services

_log = logging.getLogger(__name__)
_RETRY_SECONDS = (0.5, 1.0, 2.0)


def record_result(services: Services, image: Image, result: Result, stopping: Event) -> None:
    """Complete the row, and delete the result's file unless the row refers to it or may refer to it.

    The file of an attempt that is no longer current is deleted without an error. Raise Unavailable if the
    database does not respond, unless the row already refers to the result.
    """
    completed = _complete(services, image, result, stopping)
    if not completed:
        # False may come from an earlier try whose COMMIT succeeded although its response was lost.
        try:
            is_referenced = jobs.has_result(services, image, result)
        except Unavailable:
            _log.warning(
                "result_file_kept image_id=%d key=%s reason=database_unavailable", image.id, result.key
            )
            raise
        if not is_referenced:
            services.store.delete(result.key)
            if completed is None:
                raise Unavailable("the database does not respond")
            return
    _log.info("image_completed image_id=%d seconds=%.2f", image.id, result.seconds)


def _complete(services: Services, image: Image, result: Result, stopping: Event) -> bool | None:
    """Complete the row and return whether this attempt still had the image.

    Return None if the database never responded. A database that is busy for seconds must not cost minutes
    of work, so there are several tries, with a wait after each that ``stopping`` ends.
    """
    for delay in _RETRY_SECONDS:
        try:
            return jobs.complete(services, image, result)
        except Unavailable:
            _log.warning("image_completion_delayed image_id=%d reason=database_unavailable", image.id)
            stopping.wait(delay)
    return None
