"""What the engine's child and its supervisor say to each other: one JSON object on each line.

The child's first line is ``hello`` or ``unusable``. For each ``upscale`` it is sent it says ``loading``, if the job's
model must be loaded first, ``ready`` with what holds for that model, ``progress`` any number of times and then exactly
one of ``done``, ``refused`` (the picture is at fault), ``model_unusable`` (the job's model is), ``failed`` (the engine
is), ``faulty`` (its device is), ``too_large`` (its tiles are, for the memory there is) and ``cancelled``. This module
is for both sides, so it needs nothing but the standard library: the supervisor must not load ncnn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from domain.formats import ImageFormat
from domain.sizing import Caps, Size, Sizing

Message = dict[str, Any]

AUTO = "auto"
CPU = "cpu"
SMALLEST_TILE_SIDE = 32  # where memory is short: nine tenths of the work on such a tile are for a pad of 32


class MetadataPolicy(StrEnum):
    """What a result keeps of its original's EXIF and XMP; the colour profile and the resolution always stay."""

    KEEP = "keep"
    STRIP_LOCATION = "strip-location"
    STRIP = "strip"


@dataclass(frozen=True)
class EngineOptions:
    """``device``: auto, or cpu, vulkan:N or several with commas between, best first. ``model``: auto or a name. None: what the model and device suggest.

    ``tile_side`` is the largest a tile may be, in pixels of the original, without the pad; ``tile_threads`` tiles are
    worked on at once; ``precision`` is fp32, bf16 or int8 and concerns CPUs only; within ``memory_mb``, in units of 2**20 bytes,
    stays all but the picture, its result and a row of joined tiles; in ``kept`` lie networks made 8 bits, in ``models``
    the operator's own models with their manifests.
    """

    device: str = AUTO
    model: str = AUTO
    tile_side: int | None = None
    tile_threads: int | None = None
    precision: str | None = None
    memory_mb: int | None = None
    metadata: MetadataPolicy = MetadataPolicy.KEEP
    kept: Path | None = None
    models: Path | None = None


@dataclass(frozen=True)
class EngineJob:
    """``target`` is written in the format of ``source``; what was there before is replaced.

    ``model`` is a name; None: the engine's own choice, which is ``EngineOptions.model``.
    """

    source: Path
    target: Path
    sizing: Sizing
    caps: Caps = field(default_factory=Caps)
    model: str | None = None


@dataclass(frozen=True)
class EngineHello:
    """What a child that is ready works with; ``excluded_devices`` says which devices failed their self-test and how.

    ``slowest_seconds``: the longest that this device, as measured just now, works without a word.
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
    original: Size
    result: Size
    image_format: ImageFormat
    model: str
    device: str
    seconds: float


@dataclass(frozen=True)
class DeviceReport:
    """``agreement_db`` with what a CPU makes of the golden picture in 32 bits, 99 when identical; None: no answer."""

    id: str
    name: str
    kind: str
    used: bool
    model: str
    agreement_db: float | None
    problem: str | None


@dataclass(frozen=True)
class FileReport:
    name: str
    sha256: str
    problem: str | None


@dataclass(frozen=True)
class ModelReport:
    """``problem`` says why these settings keep it from being used; None if they do not."""

    name: str
    scales: tuple[int, ...]
    files: tuple[FileReport, ...]
    problem: str | None = None


@dataclass(frozen=True)
class EngineReport:
    """All that an operator may want to know about the engine of this machine; ``choice`` is a sentence."""

    versions: dict[str, str]
    devices: tuple[DeviceReport, ...]
    models: tuple[ModelReport, ...]
    choice: str
    problems: tuple[str, ...]


def unfinished_path(target: Path) -> Path:
    """Where a result is written before it takes its place; an engine that was killed leaves it behind."""
    return target.with_name(f".{target.name}.unfinished")


def to_line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def from_line(line: bytes) -> Message:
    """Raises ValueError for anything but one JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")  # noqa: TRY004 — one kind of error for one kind of fault
    return message


def job_to_message(job: EngineJob) -> Message:
    """Absolute paths: the child has a working folder of its own."""
    return {
        "type": "upscale",
        "source": str(job.source.absolute()),
        "target": str(job.target.absolute()),
        "sizing": asdict(job.sizing),
        "caps": asdict(job.caps),
        "model": job.model,
    }


def job_from_message(message: Message) -> EngineJob:
    return EngineJob(
        Path(message["source"]),
        Path(message["target"]),
        Sizing(**message["sizing"]),
        Caps(**message["caps"]),
        message["model"],
    )


def hello_from_message(message: Message) -> EngineHello:
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
    return EngineResult(
        original=Size(*message["original"]),
        result=Size(*message["result"]),
        image_format=ImageFormat(message["image_format"]),
        model=message["model"],
        device=message["device"],
        seconds=message["seconds"],
    )


def report_from_message(message: Message) -> EngineReport:
    return EngineReport(
        versions=message["versions"],
        devices=tuple(DeviceReport(**device) for device in message["devices"]),
        models=tuple(
            ModelReport(
                model["name"],
                tuple(model["scales"]),
                tuple(FileReport(**file) for file in model["files"]),
                model["problem"],
            )
            for model in message["models"]
        ),
        choice=message["choice"],
        problems=tuple(message["problems"]),
    )
