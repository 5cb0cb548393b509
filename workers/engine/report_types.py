"""The report about devices and models that ``python -m workers.engine --report`` prints and its parent reads.

It uses only the standard library: the parent must not load ncnn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.engine.protocol import Message


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
    """One model; ``problem`` says why its tiles do not fit into memory with these settings, None if they do.

    Faults of its files are in ``files``.
    """

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


def report_from_message(message: Message) -> EngineReport:
    """Return the contents of a ``report`` message. Raise KeyError or TypeError for a malformed one."""
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
