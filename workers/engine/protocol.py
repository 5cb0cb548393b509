"""The messages between the engine child and its parent: one JSON object on each line.

The child's first line is ``hello`` or ``unusable``. For each ``upscale`` that it receives it sends
``loading`` if the job's model must be loaded first, ``ready`` with the limits of that model, ``progress`` any
number of times, and then exactly one of ``done``, ``invalid_image`` (the image is at fault),
``model_unusable`` (the job's model is), ``failed`` (the engine is), ``device_faulty`` (its device is),
``tile_too_large`` (memory is too small for its tiles) and ``cancelled``. Both sides import this module, so it
uses only the standard library: the parent must not load ncnn.
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
# With a pad of 32, nine tenths of the work on such a tile are for the pad: it is only for little memory.
SMALLEST_TILE_SIDE = 32


class MetadataPolicy(StrEnum):
    """The EXIF and XMP that a result keeps of its original; colour profile and resolution always stay."""

    KEEP = "keep"
    STRIP_LOCATION = "strip-location"
    STRIP = "strip"


@dataclass(frozen=True)
class EngineOptions:
    """The settings of an engine. None: the value that the model and the device suggest.

    ``device`` is auto, cpu, vulkan:N, or several with commas between them, best first; ``model`` is auto or a
    name. ``tile_side`` is the largest side of a tile in pixels of the original, without the pad;
    ``tile_threads`` is the number of tiles in progress at once; ``precision`` is fp32, bf16 or int8 and
    affects CPUs only. ``memory_mb``, in units of 2**20 bytes, bounds everything but the image, its result and
    a row of joined tiles. ``network_cache`` is the folder for networks converted to 8 bits, ``models`` the folder of
    the operator's own models with their manifests.
    """

    device: str = AUTO
    model: str = AUTO
    tile_side: int | None = None
    tile_threads: int | None = None
    precision: str | None = None
    memory_mb: int | None = None
    metadata: MetadataPolicy = MetadataPolicy.KEEP
    network_cache: Path | None = None
    models: Path | None = None


@dataclass(frozen=True)
class EngineJob:
    """One image to upscale: ``target`` is written in the format of ``source`` and replaces an existing file.

    ``model`` is a name; None: the engine's own choice, which is ``EngineOptions.model``.
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


@dataclass(frozen=True)
class DeviceReport:
    """One device; ``agreement_db`` compares it with a 32-bit CPU on the reference image.

    It is 99 dB for identical results and None without a result. ``problem`` is None for a device that works.
    """

    id: str
    name: str
    kind: str
    used: bool
    model: str
    agreement_db: float | None
    problem: str | None


@dataclass(frozen=True)
class FileReport:
    """One file of a network; ``problem`` is None if its checksum is right."""

    name: str
    sha256: str
    problem: str | None


@dataclass(frozen=True)
class ModelReport:
    """One model; ``problem`` says why it cannot be used with these settings, None if it can."""

    name: str
    scales: tuple[int, ...]
    files: tuple[FileReport, ...]
    problem: str | None = None


@dataclass(frozen=True)
class EngineReport:
    """The engine's state on this machine for an operator; ``choice`` explains the device and the model in
    use.
    """

    versions: dict[str, str]
    devices: tuple[DeviceReport, ...]
    models: tuple[ModelReport, ...]
    choice: str
    problems: tuple[str, ...]


def unfinished_path(target: Path) -> Path:
    """Return the path where a result is written before it replaces ``target``.

    A killed engine leaves this file behind.
    """
    return target.with_name(f".{target.name}.unfinished")


def to_line(message: Message) -> bytes:
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
