"""The engine's process: jobs come in on stdin, answers go out on stdout, as ``protocol.py`` says.

``python -m workers.engine --report`` prints one JSON object about devices and models instead, ``--devices`` one
with the devices to use.
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
from workers.engine.protocol import (
    EngineOptions,
    Message,
    MetadataPolicy,
    from_line,
    job_from_message,
    to_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.engine.model_cache import ModelCache
    from workers.engine.start import Engine

_log = logging.getLogger(__name__)

# The API and the database share the machine and answer in milliseconds; pictures take seconds.
NICENESS = 10

EXIT_UNUSABLE = 3


def main() -> int:
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
    # A signal to the whole group asks the worker to finish its work, which needs this process; when the
    # worker is gone, stdin ends, and so does this.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICENESS)
    return _JobLoop(output).run(options)


class _JobLoop:
    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._output_lock = threading.Lock()

    def run(self, options: EngineOptions) -> int:
        threading.Thread(target=self._read_messages, name="listen", daemon=True).start()
        # Only now, because this loads ncnn and drivers, which may print to what used to be stdout.
        from workers.engine.model_cache import ModelCache  # noqa: PLC0415

        try:
            models = ModelCache(options)
        except EngineUnusable as error:
            self._send("unusable", code=error.code, message=str(error))
            return EXIT_UNUSABLE
        self._send_hello(models.engine_for(None, lambda: None))
        while True:
            self._run_job(models, self._jobs.get(), options.metadata)

    def _send_hello(self, engine: Engine) -> None:
        from workers.engine.start import versions  # noqa: PLC0415

        device = engine.model.device
        self._send(
            "hello",
            device=device.id,
            device_name=device.name,
            model=engine.model.model.name,
            versions=versions(),
            tile_side=engine.tile_side,
            slowest_seconds=engine.slowest_seconds,
            excluded_devices=engine.excluded_devices,
        )

    def _read_messages(self) -> None:
        for line in sys.stdin.buffer:
            message = from_line(line)
            if message["type"] == "cancel":
                self._cancelled.set()
            else:
                self._cancelled.clear()
                self._jobs.put(message)
        # The other side is gone. Threads inside native code cannot be asked to stop, so nothing is asked.
        os._exit(0)

    def _run_job(self, models: ModelCache, message: Message, metadata: MetadataPolicy) -> None:
        from workers.engine.upscale import upscale_file  # noqa: PLC0415

        job = job_from_message(message)
        try:
            engine = models.engine_for(job.model, lambda: self._send("loading"))
            self._send("ready", tile_side=engine.tile_side, slowest_seconds=engine.slowest_seconds)
            started = time.monotonic()
            upscaled = upscale_file(
                job.source,
                job.target,
                job.sizing,
                caps=job.caps,
                model=engine.model,
                tile_side=engine.tile_side,
                threads=engine.tile_threads,
                on_progress=lambda done, total: self._send("progress", done=done, total=total),
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
            # A device is judged by the model it was started with: another one may be too large for it.
            self._send("device_faulty" if models.is_default(job.model) else "failed", message=str(error))
        except Exception as error:
            _log.exception("the job failed")
            self._send("failed", message=f"{type(error).__name__}: {error}")
        else:
            self._send(
                "done",
                **asdict(upscaled),
                model=engine.model.model.name,
                device=engine.model.device.id,
                seconds=time.monotonic() - started,
            )

    def _send(self, message_type: str, **fields: Any) -> None:
        # Heartbeats come from a thread of their own, and a line must stay in one piece.
        with self._output_lock:
            self._output.write(to_line({"type": message_type, **fields}))
            self._output.flush()


def _parse(arguments: list[str]) -> argparse.Namespace:
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
    """The real stdout, for answers alone; whatever native code prints from now on goes to stderr."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def _respond(query: Callable[[EngineOptions], Message], options: EngineOptions, output: BinaryIO) -> None:
    try:
        output.write(to_line(query(options)))
    except EngineUnusable as error:
        output.write(to_line({"type": "unusable", "code": error.code, "message": str(error)}))
    output.flush()


def _report(options: EngineOptions) -> Message:
    from workers.engine.report import describe  # noqa: PLC0415 — loads ncnn, after stdout was taken

    return {"type": "report", **asdict(describe(options))}


def _devices(options: EngineOptions) -> Message:
    from workers.engine.inference.device import choose_devices  # noqa: PLC0415 — so does this

    return {"type": "devices", "ids": [device.id for device in choose_devices(options.device)]}


def _run() -> NoReturn:
    """End without destructors: drivers like to crash in theirs, and Python waits for threads in native code."""
    code = 1
    try:
        code = main()
    except SystemExit as exit_request:  # argparse's: 0 after --help, 2 for what it does not know
        code = exit_request.code if isinstance(exit_request.code, int) else 1
    except Exception:
        _log.exception("the engine broke")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _run()
