"""Start the engine children of a worker: one for each device to use."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from workers.engine.errors import NoUsableDevice
from workers.engine.options import AUTO, CPU
from workers.engine_child import EngineChild
from workers.engine_queries import chosen_devices

if TYPE_CHECKING:
    from workers.engine.options import EngineOptions

_log = logging.getLogger(__name__)


def start_engine_children(options: EngineOptions, *, stall_seconds: float | None = None) -> list[EngineChild]:
    """Start an engine on each device to use and return those that work.

    A device that fails its self-test, or whose driver crashes, is excluded. If ``auto`` is left without a
    device, start the CPU. Raise EngineUnusable when no device works.
    """
    devices = chosen_devices(options)
    engines = _start_all(devices, options, stall_seconds)
    if not engines and options.device == AUTO and CPU not in devices:
        engines = _start_all([CPU], options, stall_seconds)
    if not engines:
        raise NoUsableDevice(
            f"No device can be used: {', '.join(devices)} failed at the start. The log has the reasons."
        )
    return engines


def make_reserve_engine(
    options: EngineOptions, engines: list[EngineChild], *, stall_seconds: float | None = None
) -> EngineChild | None:
    """Return an engine for the CPU, not started, that replaces the last of ``engines`` if that one fails.

    Return None when the device is not ``auto``, or when one of the engines runs on the CPU already.
    """
    if options.device != AUTO or any(engine.start().device == CPU for engine in engines):
        return None
    return EngineChild(replace(options, device=CPU), stall_seconds=stall_seconds)


def _start_all(devices: list[str], options: EngineOptions, stall_seconds: float | None) -> list[EngineChild]:
    """Start an engine on each device in parallel, and return those that start, in the order of the devices.

    A device that does not start is logged. After any other error, kill all of them and raise it.
    """
    engines = [
        EngineChild(replace(options, device=device), stall_seconds=stall_seconds) for device in devices
    ]
    try:
        # They start in parallel: the first start of a GPU's driver compiles for minutes.
        with ThreadPoolExecutor(len(engines)) as pool:
            usable = list(pool.map(_can_start, engines))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return [engine for engine, starts in zip(engines, usable, strict=True) if starts]


def _can_start(engine: EngineChild) -> bool:
    """Start the engine; log NoUsableDevice and return False for it."""
    try:
        engine.start()
    except NoUsableDevice as reason:
        _log.warning("device_excluded reason=%s", reason)
        return False
    return True
