"""The messages between the engine child and its parent: one JSON object on each line.

The child's first line is ``hello`` or ``unusable``. For each ``upscale`` that it receives it sends
``loading`` if the job's model must be loaded first, ``ready`` with the limits of that model, ``progress`` and ``heartbeat`` (in long
steps without progress) any number of times, and then exactly one of ``done``, ``invalid_image`` (the image is at fault),
``model_unusable`` (the job's model is), ``failed`` (the engine is), ``device_faulty`` (its device is),
``tile_too_large`` (memory is too small for its tiles) and ``cancelled``. Both sides import this module, so it
uses only the standard library: the parent must not load ncnn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from domain.formats import ImageFormat
from domain.sizing import Caps, Size, Sizing

Message = dict[str, Any]


@dataclass(frozen=True)
class EngineJob:
    """One image to upscale: ``target`` is written in the format of ``source`` and replaces an existing file.

    ``model`` is a name; None: the engine's own choice, which is the ``model`` of its options.
    """

    source: Path
    target: Path
    sizing: Sizing
    caps: Caps = field(default_factory=Caps)
    model: str | None = None


@dataclass(frozen=True)
class EngineHello:
    """The device and model of a child that is ready, and the devices that failed their self-test, with
    reasons.

    ``slowest_seconds`` is the longest time that this device, as just measured, needs between two messages.
    """

    device: str
    device_name: str
    model: str
    versions: dict[str, str]
    tile_side: int
    slowest_seconds: float
    excluded_devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineResult:
    """The result of a job; ``seconds`` is the time that the job took."""

    original: Size
    result: Size
    image_format: ImageFormat
    model: str
    device: str
    seconds: float


def unfinished_path(target: Path) -> Path:
    """Return the path where a result is written before it replaces ``target``.

    A killed engine leaves this file behind.
    """
    return target.with_name(f".{target.name}.unfinished")


def to_line(message: Message) -> bytes:
    """Return the message as one line of JSON, with the line feed."""
    return json.dumps(message).encode() + b"\n"


def from_line(line: bytes) -> Message:
    """Return the message in this line. Raise ValueError for anything but one JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004  # callers handle one kind of error
    return message


def job_to_message(job: EngineJob) -> Message:
    """Return the job as a message, with absolute paths: the child has another working folder."""
    return {
        "type": "upscale",
        "source": str(job.source.absolute()),
        "target": str(job.target.absolute()),
        "sizing": asdict(job.sizing),
        "caps": asdict(job.caps),
        "model": job.model,
    }


def job_from_message(message: Message) -> EngineJob:
    """Return the job in an ``upscale`` message. Raise KeyError or TypeError for a malformed one."""
    return EngineJob(
        Path(message["source"]),
        Path(message["target"]),
        Sizing(**message["sizing"]),
        Caps(**message["caps"]),
        message["model"],
    )


def hello_from_message(message: Message) -> EngineHello:
    """Return the contents of a ``hello`` message. Raise KeyError for a malformed one."""
    return EngineHello(
        device=message["device"],
        device_name=message["device_name"],
        model=message["model"],
        versions=message["versions"],
        tile_side=message["tile_side"],
        slowest_seconds=message["slowest_seconds"],
        excluded_devices=tuple(message["excluded_devices"]),
    )


def result_from_message(message: Message) -> EngineResult:
    """Return the contents of a ``done`` message. Raise KeyError, TypeError or ValueError for a malformed one."""
    return EngineResult(
        original=Size(*message["original"]),
        result=Size(*message["result"]),
        image_format=ImageFormat(message["image_format"]),
        model=message["model"],
        device=message["device"],
        seconds=message["seconds"],
    )
