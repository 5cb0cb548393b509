"""Start, feed, watch and kill the engine's child process. Nothing here loads ncnn, NumPy or Pillow.

Used by the worker and by ``uprez upscale``: both get the same pictures from the same process.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from domain.errors import InvalidImage
from workers.engine.errors import (
    EngineCancelled,
    EngineFaulty,
    EngineLost,
    EngineUnusable,
    ManifestError,
    ModelUnusable,
    NoSoundDevice,
    TileTooLarge,
    UnknownDevice,
    UnknownModel,
    WeightsError,
)
from workers.engine.protocol import (
    SMALLEST_TILE_SIDE,
    EngineHello,
    EngineJob,
    EngineOptions,
    EngineReport,
    EngineResult,
    Message,
    from_line,
    hello_from_message,
    job_to_message,
    report_from_message,
    result_from_message,
    to_line,
    unfinished_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

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
    "chosen_devices",
    "engine_report",
]

log = logging.getLogger(__name__)

CANCEL_SECONDS = 1.0  # most tiles end within; the others are not worth waiting for
BEAT_SECONDS = 1.0
START_SECONDS = 300.0  # a first start of a GPU driver compiles for minutes, and so may the loading of a model

# A silence is a hang when it is so many times as long as what the device needed at its start. The child has
# the lowest priority on a machine that may have become busy, and a tile with transparency takes two turns.
STALL_FACTOR = 20
STALL_FLOOR_SECONDS = 60.0  # to decode the largest picture on a busy machine, which nobody has measured
STALL_CEILING_SECONDS = 1800.0  # a device that needs more for one tile is of no use

# Where this package lies, in a checkout or installed: from there ``-m workers.engine`` finds itself.
_HOME = Path(__file__).resolve().parents[1]

_KILLED = -9  # the exit status after SIGKILL
_LAST_WORDS = frozenset({"done", "refused", "model_unusable", "failed", "faulty", "too_large", "cancelled"})

_FAILURES = {
    "refused": InvalidImage,
    "model_unusable": ModelUnusable,
    "failed": EngineLost,
    "faulty": EngineFaulty,
    "too_large": TileTooLarge,
}
_UNUSABLE = {
    error.code: error
    for error in (EngineUnusable, WeightsError, ManifestError, UnknownModel, UnknownDevice, NoSoundDevice)
}


class EngineChild:
    """One engine process, started when first needed and again after it was lost. For one thread at a time."""

    def __init__(self, options: EngineOptions, *, stall_seconds: float | None = None) -> None:
        """``stall_seconds`` of silence are a hang; None: as many as suit what the device is measured to need."""
        self._options = options
        self._stall_seconds = stall_seconds
        self._process: _Process | None = None
        self._hello: EngineHello | None = None
        self._tile_side = 0  # of the model that is at work
        self._slowest_seconds = 0.0  # of the model at work
        self._is_loading = False
        self._end: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> EngineHello:
        """Have a child that is ready, and what it works with. Raises EngineUnusable."""
        if self._hello is None:
            try:
                self._follow(lambda _done, _total: None, lambda: True, BEAT_SECONDS, until="hello")
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
        beat_seconds: float = BEAT_SECONDS,
    ) -> EngineResult:
        """Do one job, here and now.

        ``on_progress(done, total)`` is called after each tile or stage of one, ``keep_going()`` about every
        ``beat_seconds`` whatever the child does; both in this thread. Raises PictureError for a picture
        that cannot be read or written, and ModelUnusable, which is one, where it is the job's model that cannot
        be used; EngineCancelled after ``keep_going()`` was false, EngineLost when the child died, hung or broke,
        EngineUnusable when it cannot even start. Unless it returns, nothing new is at ``job.target``.

        Where memory is too small for a tile, the whole picture is made anew with tiles of half the side, and
        so are all that follow: the bytes of a result depend on it.
        """
        if self._process is not None and self._process.has_ended:
            self.close()  # since the last job, and no fault of this one
        try:
            while True:
                self._living().send(job_to_message(job))
                try:
                    return result_from_message(
                        self._follow(on_progress, keep_going, beat_seconds, until="done")
                    )
                except TileTooLarge as fault:
                    # In a new child: a device that failed may be lost to the old one, and memory with it.
                    if not self._take_smaller_tiles(str(fault)):
                        raise EngineLost(str(fault)) from fault
                    self.close()
        except (InvalidImage, EngineCancelled):
            raise
        except BaseException:
            # Also when a callback raises or the caller is interrupted: the child would be in mid-job.
            self.close()
            raise
        finally:
            unfinished_path(job.target).unlink(missing_ok=True)

    def close(self) -> None:
        """End the child, at once and for certain; the next job starts another."""
        self._end()
        self._process = self._hello = None

    @property
    def _patience_seconds(self) -> float:
        if self._hello is None or self._is_loading:
            return START_SECONDS
        return self._stall_seconds or stall_limit(self._slowest_seconds)

    def _living(self) -> _Process:
        if self._process is None:
            self._process = _Process(_command(self._options))
            # Also when nobody calls close(): a child must not outlive the last reference to this.
            self._end = weakref.finalize(self, self._process.end)
        return self._process

    def _follow(
        self,
        on_progress: Callable[[int, int], None],
        keep_going: Callable[[], bool],
        beat_seconds: float,
        until: str,
    ) -> Message:
        """Listen to the child until it says ``until``."""
        process = self._living()
        within_tiles = self._is_loading = False
        for message in self._messages(process, keep_going, beat_seconds):
            self._is_loading = message["type"] == "loading"
            match message["type"]:
                case "hello":
                    self._hello = hello_from_message(message)
                    self._slowest_seconds = self._hello.slowest_seconds
                    for sentence in self._hello.set_aside:
                        log.warning("device set aside: %s", sentence)
                case "ready":
                    self._tile_side = message["tile_side"]
                    self._slowest_seconds = message["slowest_seconds"]
                case "progress":
                    within_tiles = message["done"] < message["total"]
                    on_progress(message["done"], message["total"])
                case "refused" | "model_unusable" | "failed" | "faulty" | "too_large":
                    raise _FAILURES[message["type"]](message["sentence"])
                case "unusable":
                    raise _UNUSABLE[message["code"]](message["sentence"])
                case "ended":
                    self._mourn(process, within_tiles=within_tiles)
            if message["type"] == until:
                return message
        raise AssertionError("the messages end with an exception only")

    def _mourn(self, process: _Process, *, within_tiles: bool) -> NoReturn:
        why = f"the engine ended unexpectedly (exit status {process.exit_status()})"
        if within_tiles and process.exit_status() == _KILLED:
            # What a system does that has no memory left, and does not say.
            self._take_smaller_tiles(why)
        self._lose(why)

    def _take_smaller_tiles(self, why: str) -> bool:
        """For the children to come. False when tiles are as small as they may be."""
        assert self._hello is not None
        side = self._tile_side
        smaller = max(side // 2, SMALLEST_TILE_SIDE)
        if smaller >= side:
            return False
        log.warning("%s: tiles of %d pixels from now on, not %d: %s", self._hello.device, smaller, side, why)
        self._options = replace(self._options, tile_side=smaller)
        return True

    def _messages(
        self, process: _Process, keep_going: Callable[[], bool], beat_seconds: float
    ) -> Iterator[Message]:
        """What the child says, for ever. Raises EngineLost when it hangs, EngineCancelled on the caller's wish."""
        last_word = next_beat = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + beat_seconds
                if not keep_going():
                    self._cancel(process)
            message = process.hear(next_beat - now)
            if message is not None:
                last_word = time.monotonic()
                yield message
            elif time.monotonic() - last_word > (patience := self._patience_seconds):
                self._lose(f"the engine said nothing for {patience:.3g} s")

    def _lose(self, why: str) -> NoReturn:
        started = self._hello is not None
        self.close()
        if not started:  # no picture is at fault there
            raise NoSoundDevice(f"{self._options.device} cannot be started: {why}")
        raise EngineLost(why)

    def _cancel(self, process: _Process) -> NoReturn:
        """Ask the child to stop after the tile in hand, and end it if that takes too long."""
        process.send({"type": "cancel"})
        deadline = time.monotonic() + CANCEL_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            message = process.hear(left)
            if message is not None and message["type"] in _LAST_WORDS:
                raise EngineCancelled
            if message is not None and message["type"] == "ended":
                break
        self.close()
        raise EngineCancelled


def stall_limit(slowest_seconds: float) -> float:
    """The silence that is a hang, for a device whose longest step took so long when it started."""
    return min(max(STALL_FLOOR_SECONDS, STALL_FACTOR * slowest_seconds), STALL_CEILING_SECONDS)


def engine_report(
    options: EngineOptions | None = None, *, timeout_seconds: float = START_SECONDS
) -> EngineReport:
    """Devices, models, versions and self-tests, found out in a process of its own. Raises EngineUnusable."""
    return report_from_message(_ask(options or EngineOptions(), "--report", timeout_seconds))


def chosen_devices(options: EngineOptions, *, timeout_seconds: float = START_SECONDS) -> list[str]:
    """The ids of the devices to use, best first, none of them tested. Raises EngineUnusable."""
    ids: list[str] = _ask(options, "--devices", timeout_seconds)["ids"]
    return ids


def _ask(options: EngineOptions, question: str, timeout_seconds: float) -> Message:
    command = [*_command(options), question]
    try:
        answer = subprocess.run(command, cwd=_HOME, capture_output=True, timeout=timeout_seconds, check=False)  # noqa: S603
        message = from_line(answer.stdout)
    except subprocess.TimeoutExpired as error:
        raise EngineUnusable(f"The engine did not report within {timeout_seconds:g} s.") from error
    except ValueError as error:
        words = answer.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise EngineUnusable(
            f"The engine failed to report (exit status {answer.returncode}): {' '.join(words)}"
        ) from error
    if message["type"] == "unusable":
        raise _UNUSABLE[message["code"]](message["sentence"])
    return message


class _Process:
    """The operating system's side of a child: two pipes, a thread that listens, one that logs."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            command,
            cwd=_HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C in a terminal is for the command that was typed there; that one decides about its child.
            start_new_session=True,
        )
        self._owner = os.getpid()
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: PT018
        self._stdin = self._process.stdin
        self._threads = [
            threading.Thread(target=_listen, args=(self._process.stdout, self._heard), daemon=True),
            threading.Thread(target=_log_lines, args=(self._process.stderr, self.pid), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, message: Message) -> None:
        """To a child that has died, in vain: that is heard soon enough."""
        try:
            self._stdin.write(to_line(message))
        except BrokenPipeError:
            log.debug("engine %d does not listen any more", self.pid)

    def hear(self, timeout_seconds: float) -> Message | None:
        """The next message, ``ended`` when there will be none, None when there was none in this time."""
        try:
            return self._heard.get(timeout=max(0.0, timeout_seconds))
        except queue.Empty:
            return None

    def exit_status(self) -> int:
        """As subprocess counts: minus the number of the signal that ended it. Waits for a moment."""
        return self._process.wait()

    def end(self) -> None:
        if os.getpid() != self._owner:
            return  # a forked copy of the owner, whose child this is not
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()  # both pipes have ended with the process
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def _command(options: EngineOptions) -> list[str]:
    command = [sys.executable, "-m", "workers.engine", "--device", options.device, "--model", options.model]
    if options.tile_side is not None:
        command += ["--tile-side", str(options.tile_side)]
    if options.tile_threads is not None:
        command += ["--tile-threads", str(options.tile_threads)]
    if options.precision is not None:
        command += ["--precision", options.precision]
    if options.memory_mb is not None:
        command += ["--memory-mb", str(options.memory_mb)]
    if options.kept is not None:
        command += ["--kept", str(options.kept.absolute())]
    if options.models is not None:
        command += ["--models", str(options.models.absolute())]
    return [*command, "--metadata", options.metadata]


def _listen(stdout: IO[bytes], heard: queue.SimpleQueue[Message]) -> None:
    for line in stdout:
        try:
            heard.put(from_line(line))
        except ValueError:  # a line cut short by a kill
            log.warning("the engine said what is no message: %r", line[:200])
    heard.put({"type": "ended"})


def _log_lines(stderr: IO[bytes], pid: int) -> None:
    for line in stderr:
        log.info("engine %d: %s", pid, line.decode(errors="replace").rstrip())
