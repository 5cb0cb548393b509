"""The engine's process: it reads jobs from stdin and writes messages to stdout, as ``protocol.py`` describes.

``python -m workers.engine --report`` prints one JSON object about devices and models and ends; ``--devices``
prints one with the devices to use.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from domain.errors import InvalidImage
from workers.engine.errors import (
    DeviceFault,
    EngineCancelled,
    EngineUnusable,
    ModelUnusable,
    TileTooLarge,
)
from workers.engine.options import EngineOptions, MetadataPolicy
from workers.engine.protocol import Message, from_line, job_from_message, to_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.engine.model_cache import ModelCache
    from workers.engine.start import PreparedModel

_log = logging.getLogger(__name__)

# The API and the database share the machine and respond in milliseconds; an image takes seconds.
NICENESS = 10

EXIT_UNUSABLE = 3


def main() -> int:
    """Parse the command line, respond to a query or process jobs, and return the exit status."""
    arguments = _parse(sys.argv[1:])
    output = _claim_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    options = EngineOptions(
        arguments.device,
        arguments.model,
        arguments.tile_side,
        arguments.tile_threads,
        arguments.precision,
        arguments.memory_mb,
        MetadataPolicy(arguments.metadata),
        arguments.network_cache,
        arguments.models,
    )
    if arguments.report or arguments.devices:
        _respond(_report if arguments.report else _devices, options, output)
        return 0
    # A signal to the process group makes the worker finish its jobs, for which it needs this process. When
    # the worker has ended, stdin ends, and so does this process.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICENESS)
    return _JobLoop(output).run(options)


class _JobLoop:
    """The loop that reads jobs, runs them one after the other and sends their messages."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._output_lock = threading.Lock()

    def run(self, options: EngineOptions) -> int:
        """Load the model, then run jobs without end; return EXIT_UNUSABLE if the engine cannot start."""
        threading.Thread(target=self._read_messages, name="listen", daemon=True).start()
        # This import loads ncnn and drivers, which may print, so it comes after stdout was redirected.
        from workers.engine.model_cache import ModelCache  # noqa: PLC0415

        try:
            models = ModelCache(options)
        except EngineUnusable as error:
            self._send("unusable", code=error.code, message=str(error))
            return EXIT_UNUSABLE
        self._send_hello(models.prepared(None, lambda: None))
        while True:
            self._run_job(models, self._jobs.get(), options.metadata)

    def _send_hello(self, prepared: PreparedModel) -> None:
        """Send ``hello`` with the device, model, versions, limits and excluded devices of the start."""
        from workers.engine.start import versions  # noqa: PLC0415

        device = prepared.loaded.device
        self._send(
            "hello",
            device=device.id,
            device_name=device.name,
            model=prepared.loaded.model.name,
            versions=versions(),
            tile_side=prepared.tile_side,
            slowest_seconds=prepared.slowest_seconds,
            excluded_devices=prepared.excluded_devices,
        )

    def _read_messages(self) -> None:
        """Read stdin: queue each job, and let ``cancel`` stop the job in progress at its next tile or stage
        of a tile.

        A new job clears an earlier cancel. At the end of stdin, end the whole process with status 0.
        """
        for line in sys.stdin.buffer:
            message = from_line(line)
            if message["type"] == "cancel":
                self._cancelled.set()
            else:
                self._cancelled.clear()
                self._jobs.put(message)
        # The parent has ended. Threads inside native code cannot be stopped, so the process ends without
        # them.
        os._exit(0)

    def _run_job(self, models: ModelCache, message: Message, metadata: MetadataPolicy) -> None:
        """Run one job and send its messages, the last of which is its result or its error.

        No exception of the job itself leaves this method. A fault of the device is ``device_faulty`` for the
        model of the start, and ``failed`` for any other model.
        """
        from workers.engine.upscale import upscale_file  # noqa: PLC0415

        job = job_from_message(message)
        try:
            prepared = models.prepared(job.model, lambda: self._send("loading"))
            self._send("ready", tile_side=prepared.tile_side, slowest_seconds=prepared.slowest_seconds)
            started = time.monotonic()
            upscaled = upscale_file(
                job.source,
                job.target,
                job.sizing,
                caps=job.caps,
                model=prepared.loaded,
                tile_side=prepared.tile_side,
                threads=prepared.tile_threads,
                on_progress=lambda done, total: self._send("progress", done=done, total=total),
                on_heartbeat=lambda: self._send("heartbeat"),
                cancelled=self._cancelled.is_set,
                metadata=metadata,
            )
        except EngineCancelled:
            self._send("cancelled")
        except ModelUnusable as error:
            self._send("model_unusable", message=str(error))
        except InvalidImage as error:
            self._send("invalid_image", message=str(error))
        except TileTooLarge as error:
            self._send("tile_too_large", message=str(error))
        except DeviceFault as error:
            # A device counts as faulty only with the model it was started with: another model may be too
            # large for it.
            self._send("device_faulty" if models.is_default(job.model) else "failed", message=str(error))
        except Exception as error:  # noqa: BLE001  # every failure must become a message
            _log.exception("engine_job_failed")
            self._send("failed", message=f"{type(error).__name__}: {error}")
        else:
            self._send(
                "done",
                **asdict(upscaled),
                model=prepared.loaded.model.name,
                device=prepared.loaded.device.id,
                seconds=time.monotonic() - started,
            )

    def _send(self, message_type: str, **fields: Any) -> None:
        """Write one message as a line to the parent, and flush; several threads may call this."""
        # Heartbeats come from another thread, and each line must stay in one piece.
        with self._output_lock:
            self._output.write(to_line({"type": message_type, **fields}))
            self._output.flush()


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Return the parsed options. Exit with status 2 for an unknown option or an invalid number."""
    parser = argparse.ArgumentParser(prog="python -m workers.engine", description=__doc__)
    parser.add_argument("--device", default=EngineOptions.device)
    parser.add_argument("--model", default=EngineOptions.model)
    parser.add_argument("--tile-side", type=int)
    parser.add_argument("--tile-threads", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--metadata", default=EngineOptions.metadata, choices=list(MetadataPolicy))
    parser.add_argument("--network-cache", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--devices", action="store_true")
    return parser.parse_args(arguments)


def _claim_stdout() -> BinaryIO:
    """Return the real stdout, for messages only, and redirect what native code prints from now on to stderr."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def _respond(query: Callable[[EngineOptions], Message], options: EngineOptions, output: BinaryIO) -> None:
    """Write the result of the query to ``output`` as one line of JSON, and flush it.

    If the query raises EngineUnusable, write an ``unusable`` message with its code and text instead. Other errors
    are raised.
    """
    try:
        output.write(to_line(query(options)))
    except EngineUnusable as error:
        output.write(to_line({"type": "unusable", "code": error.code, "message": str(error)}))
    output.flush()


def _report(options: EngineOptions) -> Message:
    """Return the ``report`` message: all devices and models, tested now. Raise EngineUnusable."""
    from workers.engine.report import describe  # noqa: PLC0415  # loads ncnn, so stdout must be redirected first

    return {"type": "report", **asdict(describe(options))}


def _devices(options: EngineOptions) -> Message:
    """Return the ``devices`` message: the ids of the devices to use, best first. Raise EngineUnusable."""
    from workers.engine.inference.device import choose_devices  # noqa: PLC0415  # loads ncnn as well

    return {"type": "devices", "ids": [device.id for device in choose_devices(options.device)]}


def _run() -> NoReturn:
    """Run ``main`` and end the process without destructors.

    Some drivers crash in their destructors, and Python would wait for threads in native code.
    """
    code = 1
    try:
        code = main()
    except SystemExit as exit_request:  # argparse exits with 0 after --help and with 2 for unknown arguments
        code = exit_request.code if isinstance(exit_request.code, int) else 1
    except Exception:  # noqa: BLE001  # the process must end without destructors in every case
        _log.exception("engine_failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _run()
