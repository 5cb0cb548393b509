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

    from workers.engine.model_cache import SeveralModels
    from workers.engine.start import Engine

log = logging.getLogger(__name__)

# The API and the database share the machine and answer in milliseconds; pictures take seconds.
NICENESS = 10

EXIT_UNUSABLE = 3


def main() -> int:
    arguments = _parse(sys.argv[1:])
    answers = _take_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    options = EngineOptions(
        arguments.device,
        arguments.model,
        arguments.tile_side,
        arguments.tile_threads,
        arguments.precision,
        arguments.memory_mb,
        MetadataPolicy(arguments.metadata),
        arguments.kept,
        arguments.models,
    )
    if arguments.report or arguments.devices:
        _answer(_report if arguments.report else _devices, options, answers)
        return 0
    # A signal to the whole group asks the worker to finish its work, which needs this process; when the
    # worker is gone, stdin ends, and so does this.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICENESS)
    return _Conversation(answers).run(options)


class _Conversation:
    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._saying = threading.Lock()

    def run(self, options: EngineOptions) -> int:
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        # Only now, because this loads ncnn and drivers, which may print to what used to be stdout.
        from workers.engine.model_cache import SeveralModels  # noqa: PLC0415

        try:
            models = SeveralModels(options)
        except EngineUnusable as error:
            self._say("unusable", code=error.code, sentence=str(error))
            return EXIT_UNUSABLE
        self._greet(models.engine_for(None, lambda: None))
        while True:
            self._work(models, self._jobs.get(), options.metadata)

    def _greet(self, engine: Engine) -> None:
        from workers.engine.start import versions  # noqa: PLC0415

        device = engine.model.device
        self._say(
            "hello",
            device=device.id,
            device_name=device.name,
            model=engine.model.model.name,
            versions=versions(),
            tile_side=engine.tile_side,
            slowest_seconds=engine.slowest_seconds,
            set_aside=engine.set_aside,
        )

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            message = from_line(line)
            if message["type"] == "cancel":
                self._cancelled.set()
            else:
                self._cancelled.clear()
                self._jobs.put(message)
        # The other side is gone. Threads inside native code cannot be asked to stop, so nothing is asked.
        os._exit(0)

    def _work(self, models: SeveralModels, message: Message, metadata: MetadataPolicy) -> None:
        from workers.engine.upscale import upscale_file  # noqa: PLC0415

        job = job_from_message(message)
        try:
            engine = models.engine_for(job.model, lambda: self._say("loading"))
            self._say("ready", tile_side=engine.tile_side, slowest_seconds=engine.slowest_seconds)
            started = time.monotonic()
            upscaled = upscale_file(
                job.source,
                job.target,
                job.sizing,
                caps=job.caps,
                model=engine.model,
                tile_side=engine.tile_side,
                threads=engine.tile_threads,
                on_progress=lambda done, total: self._say("progress", done=done, total=total),
                cancelled=self._cancelled.is_set,
                metadata=metadata,
            )
        except EngineCancelled:
            self._say("cancelled")
        except ModelUnusable as error:
            self._say("model_unusable", sentence=str(error))
        except InvalidImage as error:
            self._say("refused", sentence=str(error))
        except TileTooLarge as error:
            self._say("too_large", sentence=str(error))
        except DeviceFault as error:
            # A device is judged by the model it was started with: another one may be too large for it.
            self._say("faulty" if models.is_first(job.model) else "failed", sentence=str(error))
        except Exception as error:
            log.exception("the job failed")
            self._say("failed", sentence=f"{type(error).__name__}: {error}")
        else:
            self._say(
                "done",
                **asdict(upscaled),
                model=engine.model.model.name,
                device=engine.model.device.id,
                seconds=time.monotonic() - started,
            )

    def _say(self, kind: str, **facts: Any) -> None:
        # Heartbeats come from a thread of their own, and a line must stay in one piece.
        with self._saying:
            self._answers.write(to_line({"type": kind, **facts}))
            self._answers.flush()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.engine", description=__doc__)
    parser.add_argument("--device", default=EngineOptions.device)
    parser.add_argument("--model", default=EngineOptions.model)
    parser.add_argument("--tile-side", type=int)
    parser.add_argument("--tile-threads", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--metadata", default=EngineOptions.metadata, choices=list(MetadataPolicy))
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--devices", action="store_true")
    return parser.parse_args(arguments)


def _take_stdout() -> BinaryIO:
    """The real stdout, for answers alone; whatever native code prints from now on goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _answer(question: Callable[[EngineOptions], Message], options: EngineOptions, answers: BinaryIO) -> None:
    try:
        answers.write(to_line(question(options)))
    except EngineUnusable as error:
        answers.write(to_line({"type": "unusable", "code": error.code, "sentence": str(error)}))
    answers.flush()


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
    except SystemExit as ending:  # argparse's: 0 after --help, 2 for what it does not know
        code = ending.code if isinstance(ending.code, int) else 1
    except Exception:
        log.exception("the engine broke")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _run()
