"""One engine child for each device that is to be used, each up and tested."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from workers.engine.errors import NoSoundDevice
from workers.engine.protocol import AUTO, CPU
from workers.engine_child import EngineChild, chosen_devices

if TYPE_CHECKING:
    from workers.engine.protocol import EngineOptions

log = logging.getLogger(__name__)


def start_engines(options: EngineOptions, *, stall_seconds: float | None = None) -> list[EngineChild]:
    """All that work. Raises EngineUnusable when none does.

    A device that fails its self-test, or whose driver crashes, is set aside for the others. Where ``auto``
    is left without one, the CPU steps in.
    """
    devices = chosen_devices(options)
    engines = _start_all(devices, options, stall_seconds)
    if not engines and options.device == AUTO and CPU not in devices:
        engines = _start_all([CPU], options, stall_seconds)
    if not engines:
        raise NoSoundDevice(
            f"No device can be used: {', '.join(devices)} failed at the start; the log says how."
        )
    return engines


def reserve_engine(
    options: EngineOptions, engines: list[EngineChild], *, stall_seconds: float | None = None
) -> EngineChild | None:
    """The CPU, not started yet, for when the last of these is set aside; None where ``auto`` does not choose."""
    if options.device != AUTO or any(engine.start().device == CPU for engine in engines):
        return None
    return EngineChild(replace(options, device=CPU), stall_seconds=stall_seconds)


def _start_all(devices: list[str], options: EngineOptions, stall_seconds: float | None) -> list[EngineChild]:
    engines = [
        EngineChild(replace(options, device=device), stall_seconds=stall_seconds) for device in devices
    ]
    try:
        # Side by side: the first start of a GPU's driver compiles for minutes.
        with ThreadPoolExecutor(len(engines)) as pool:
            usable = list(pool.map(_can_start, engines))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return [engine for engine, starts in zip(engines, usable, strict=True) if starts]


def _can_start(engine: EngineChild) -> bool:
    try:
        engine.start()
    except NoSoundDevice as reason:
        log.warning("A device is set aside: %s", reason)
        return False
    return True
