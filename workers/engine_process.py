"""The operating system's side of an engine child: its command line, its pipes and its end."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workers.engine.protocol import Message, from_line, to_line

if TYPE_CHECKING:
    from typing import IO

    from workers.engine.options import EngineOptions

_log = logging.getLogger(__name__)

START_SECONDS = 300.0  # the first start of a GPU driver compiles for minutes, and loading a model may as well

# The folder that holds the package ``workers``, in a checkout or installed: ``-m workers.engine`` is found from there.
_PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


class EngineProcess:
    """An engine child with its pipes, a thread that reads its messages, and a thread that logs its stderr."""

    def __init__(self, options: EngineOptions) -> None:
        """Start the engine's process with these options, and the threads that read its messages and log its
        stderr.
        """
        self._process = subprocess.Popen(  # noqa: S603
            engine_command(options),
            cwd=_PACKAGE_FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C in a terminal must reach only the command that was typed: it decides about its child.
            start_new_session=True,
        )
        self._owner = os.getpid()
        self._received: queue.SimpleQueue[Message] = queue.SimpleQueue()
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: PT018
        self._stdin = self._process.stdin
        self._threads = [
            threading.Thread(target=_read_messages, args=(self._process.stdout, self._received), daemon=True),
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
        """Write the message to the child's stdin; do nothing if the child has died."""
        try:
            self._stdin.write(to_line(message))
        except BrokenPipeError:
            # ``receive`` reports the end of the process.
            _log.debug("engine_message_not_sent pid=%d", self.pid)

    def receive(self, timeout_seconds: float) -> Message | None:
        """Return the next message, or None if none came in time; its type is ``ended`` after the last one."""
        try:
            return self._received.get(timeout=max(0.0, timeout_seconds))
        except queue.Empty:
            return None

    def exit_status(self) -> int:
        """Wait for the process to end and return its exit status.

        It is negative for a process that a signal ended: minus the number of the signal.
        """
        return self._process.wait()

    def end(self) -> None:
        """Kill the process, wait for it and for both threads, and close the pipes.

        Do nothing in a fork of the process that started the child.
        """
        if os.getpid() != self._owner:
            return  # this is a fork of the owner: the child is not its own
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()  # both pipes have ended with the process
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def run_query(
    options: EngineOptions, argument: str, timeout_seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run the engine with one more argument until it ends, and return its status and output.

    Raise subprocess.TimeoutExpired after ``timeout_seconds``.
    """
    command = [*engine_command(options), argument]
    return subprocess.run(  # noqa: S603
        command, cwd=_PACKAGE_FOLDER, capture_output=True, timeout=timeout_seconds, check=False
    )


def engine_command(options: EngineOptions) -> list[str]:
    """Return the command line that starts an engine with these options."""
    command = [sys.executable, "-m", "workers.engine", "--device", options.device, "--model", options.model]
    if options.tile_side is not None:
        command += ["--tile-side", str(options.tile_side)]
    if options.tile_threads is not None:
        command += ["--tile-threads", str(options.tile_threads)]
    if options.precision is not None:
        command += ["--precision", options.precision]
    if options.memory_mb is not None:
        command += ["--memory-mb", str(options.memory_mb)]
    if options.network_cache is not None:
        command += ["--network-cache", str(options.network_cache.absolute())]
    if options.models is not None:
        command += ["--models", str(options.models.absolute())]
    return [*command, "--metadata", options.metadata]


def _read_messages(stdout: IO[bytes], received: queue.SimpleQueue[Message]) -> None:
    """Put each message from ``stdout`` into the queue, and ``ended`` at the end of the stream."""
    for line in stdout:
        try:
            received.put(from_line(line))
        except ValueError:  # a kill can cut a line short
            _log.warning("engine_output_invalid line=%r", line[:200])
    received.put({"type": "ended"})


def _log_lines(stderr: IO[bytes], pid: int) -> None:
    """Log each line of the child's stderr until its end; bytes that are not UTF-8 are replaced."""
    for line in stderr:
        _log.info("engine_stderr pid=%d line=%s", pid, line.decode(errors="replace").rstrip())
