"""Jobs of an engine child: send one, follow its messages, notice a hang, cancel.

The worker and ``uprez upscale`` both use it, so both get the same images from the same process. This module loads
neither ncnn nor NumPy nor Pillow.
"""

from __future__ import annotations

import logging
import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Self

from domain.errors import InvalidImage
from workers.engine.errors import (
    EngineCancelled,
    EngineFaulty,
    EngineLost,
    EngineUnusable,
    ModelUnusable,
    NoUsableDevice,
    TileTooLarge,
    unusable_error,
)
from workers.engine.options import SMALLEST_TILE_SIDE, EngineOptions
from workers.engine.protocol import (
    EngineHello,
    EngineJob,
    EngineResult,
    Message,
    hello_from_message,
    job_to_message,
    result_from_message,
    unfinished_path,
)
from workers.engine.report_types import EngineReport
from workers.engine_process import START_SECONDS, EngineProcess
from workers.engine_queries import engine_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "EngineCancelled",
    "EngineChild",
    "EngineFaulty",
    "EngineHello",
    "EngineJob",
    "EngineLost",
    "EngineOptions",
    "EngineReport",
    "EngineResult",
    "EngineUnusable",
    "ModelUnusable",
    "engine_report",
]

_log = logging.getLogger(__name__)

CANCEL_SECONDS = 1.0  # most tiles end within this time; a longer wait is not worth it
KEEP_GOING_SECONDS = 1.0  # between two calls of ``keep_going``, which renews the lease of a worker's job

# Silence counts as a hang when it lasts this many times longer than the device needed at its start: the child has
# the lowest priority on a machine that may have become busy, and a tile with transparency runs twice.
STALL_FACTOR = 20
STALL_FLOOR_SECONDS = 60.0  # for decoding the largest image on a busy machine, which has not been measured
STALL_CEILING_SECONDS = 1800.0  # a device that needs longer for one tile is of no use

_KILLED = -9  # the exit status after SIGKILL

_FAILURES = {
    "invalid_image": InvalidImage,
    "model_unusable": ModelUnusable,
    "failed": EngineLost,
    "device_faulty": EngineFaulty,
    "tile_too_large": TileTooLarge,
}
_FINAL_MESSAGES = frozenset({"done", "cancelled", *_FAILURES})


class EngineChild:
    """One engine process, started when first needed and again after it was lost. Only one thread may use it."""

    def __init__(self, options: EngineOptions, *, stall_seconds: float | None = None) -> None:
        """Store the options; ``start`` or the first job starts the process.

        After ``stall_seconds`` without a message the child counts as hung. None: derive the limit from the
        time that the device needed at its start.
        """
        self._options = options
        self._stall_seconds = stall_seconds
        self._process: EngineProcess | None = None
        self._hello: EngineHello | None = None
        self._tile_side = 0  # of the job's model
        self._slowest_seconds = 0.0  # of the job's model
        self._is_loading = False
        self._end: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Return the child's process id, or None while there is no child."""
        return self._process.pid if self._process else None

    def start(self) -> EngineHello:
        """Start the child if needed, wait until it is ready, and return what it works with.

        Raise EngineUnusable when it cannot start.
        """
        if self._hello is None:
            try:
                self._follow(lambda _done, _total: None, lambda: True, KEEP_GOING_SECONDS, until="hello")
            except BaseException:
                self.close()
                raise
        assert self._hello is not None
        return self._hello

    def upscale(
        self,
        job: EngineJob,
        *,
        on_progress: Callable[[int, int], None],
        keep_going: Callable[[], bool],
        keep_going_seconds: float = KEEP_GOING_SECONDS,
    ) -> EngineResult:
        """Do one job, wait for its end and return what was written to ``job.target``.

        Start a child process if none runs. Call ``on_progress(done, total)`` after each tile or stage of a tile, and
        ``keep_going()`` about every ``keep_going_seconds`` whether or not the child sends messages; both in this thread.
        What they raise is raised here.

        Raise InvalidImage for an image that cannot be read or written, and its subclass ModelUnusable when the job's
        model cannot be used; EngineCancelled after ``keep_going()`` returned False; EngineLost when the child died, hung
        or failed, or when the smallest tile is still too large; EngineUnusable when it cannot start. After InvalidImage
        and EngineCancelled the child is kept, after every other error it is ended. Unless this method returns,
        ``job.target`` normally has no new file; a child that dies just after it has written one leaves it.

        When memory is too small for a tile, start over in a new child with tiles of half the side, and keep that side for
        all jobs that follow: the bytes of a result depend on it.
        """
        if self._process is not None and self._process.has_ended:
            self.close()  # it ended between two jobs, so this job did not cause it
        try:
            while True:
                self._ensure_started().send(job_to_message(job))
                try:
                    return result_from_message(
                        self._follow(on_progress, keep_going, keep_going_seconds, until="done")
                    )
                except TileTooLarge as fault:
                    # A new child is needed: the old one may have lost the device that failed, and its memory.
                    if not self._reduce_tile_side(str(fault)):
                        raise EngineLost(str(fault)) from fault
                    self.close()
        except (InvalidImage, EngineCancelled):
            raise
        except BaseException:
            # This includes an exception of a callback and an interrupt: the child would be in the middle of a job.
            self.close()
            raise
        finally:
            unfinished_path(job.target).unlink(missing_ok=True)

    def close(self) -> None:
        """Kill the child; the next job starts another one."""
        self._end()
        self._process = self._hello = None

    @property
    def _silence_limit_seconds(self) -> float:
        """Return how long the child may be silent now: longer while it starts or loads a model."""
        if self._hello is None or self._is_loading:
            return START_SECONDS
        return self._stall_seconds or stall_limit(self._slowest_seconds)

    def _ensure_started(self) -> EngineProcess:
        """Return the process, and start it first if there is none; it ends at the latest with this object."""
        if self._process is None:
            self._process = EngineProcess(self._options)
            # Without a call of close() the child must not outlive the last reference to this object either.
            self._end = weakref.finalize(self, self._process.end)
        return self._process

    def _follow(
        self,
        on_progress: Callable[[int, int], None],
        keep_going: Callable[[], bool],
        keep_going_seconds: float,
        until: str,
    ) -> Message:
        """Handle the child's messages up to the first one of type ``until``, and return that one."""
        process = self._ensure_started()
        within_tiles = self._is_loading = False  # a heartbeat is no tile; none is sent while a model loads
        for message in self._messages(process, keep_going, keep_going_seconds):
            self._is_loading = message["type"] == "loading"
            match message["type"]:
                case "hello":
                    self._hello = hello_from_message(message)
                    self._slowest_seconds = self._hello.slowest_seconds
                    for reason in self._hello.excluded_devices:
                        _log.warning("device_excluded reason=%s", reason)
                case "ready":
                    self._tile_side = message["tile_side"]
                    self._slowest_seconds = message["slowest_seconds"]
                case "progress":
                    within_tiles = message["done"] < message["total"]
                    on_progress(message["done"], message["total"])
                case "invalid_image" | "model_unusable" | "failed" | "device_faulty" | "tile_too_large":
                    raise _FAILURES[message["type"]](message["message"])
                case "unusable":
                    raise unusable_error(message["code"], message["message"])
                case "ended":
                    self._handle_exit(process, within_tiles=within_tiles)
            if message["type"] == until:
                return message
        raise AssertionError("the messages end with an exception only")

    def _handle_exit(self, process: EngineProcess, *, within_tiles: bool) -> NoReturn:
        """Raise EngineLost for a child that has ended by itself, or NoUsableDevice before its first
        ``hello``.

        If it was killed within a tile, halve the tile side for the next child: memory may be too small.
        """
        reason = f"the engine ended unexpectedly (exit status {process.exit_status()})"
        if within_tiles and process.exit_status() == _KILLED:
            # A system that is out of memory kills a process without a message.
            self._reduce_tile_side(reason)
        self._fail_lost(reason)

    def _reduce_tile_side(self, reason: str) -> bool:
        """Halve the tile side for the next children; return False if it is the smallest one already."""
        assert self._hello is not None
        side = self._tile_side
        smaller = max(side // 2, SMALLEST_TILE_SIDE)
        if smaller >= side:
            return False
        _log.warning(
            "tile_side_reduced device=%s from_pixels=%d to_pixels=%d reason=%s",
            self._hello.device,
            side,
            smaller,
            reason,
        )
        self._options = replace(self._options, tile_side=smaller)
        return True

    def _messages(
        self, process: EngineProcess, keep_going: Callable[[], bool], keep_going_seconds: float
    ) -> Iterator[Message]:
        """Yield the child's messages without end.

        Raise EngineLost when the child hangs, EngineCancelled after ``keep_going()`` returned False.
        """
        last_message = next_call = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_call:
                next_call = now + keep_going_seconds
                if not keep_going():
                    self._cancel(process)
            message = process.receive(next_call - now)
            if message is not None:
                last_message = time.monotonic()
                yield message
            elif time.monotonic() - last_message > (limit := self._silence_limit_seconds):
                self._fail_lost(f"the engine sent no message for {limit:.3g} s")

    def _fail_lost(self, reason: str) -> NoReturn:
        """Kill the child and raise EngineLost, or NoUsableDevice if it never sent ``hello``."""
        was_started = self._hello is not None
        self.close()
        if not was_started:  # no image can be at fault before the start
            raise NoUsableDevice(f"{self._options.device} cannot be started: {reason}")
        raise EngineLost(reason)

    def _cancel(self, process: EngineProcess) -> NoReturn:
        """Tell the child to stop after the current tile, and kill it if that exceeds ``CANCEL_SECONDS``."""
        process.send({"type": "cancel"})
        deadline = time.monotonic() + CANCEL_SECONDS
        while (remaining := deadline - time.monotonic()) > 0:
            message = process.receive(remaining)
            if message is not None and message["type"] in _FINAL_MESSAGES:
                raise EngineCancelled
            if message is not None and message["type"] == "ended":
                break
        self.close()
        raise EngineCancelled


def stall_limit(slowest_seconds: float) -> float:
    """Return the silence, in seconds, that counts as a hang, from the longest step at the device's start."""
    return min(max(STALL_FLOOR_SECONDS, STALL_FACTOR * slowest_seconds), STALL_CEILING_SECONDS)
