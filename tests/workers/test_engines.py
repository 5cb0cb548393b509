from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from domain.sizing import Sizing
from workers import engine_child, engine_process
from workers.engine.errors import NoUsableDevice, UnknownDevice, WeightsError
from workers.engine.options import EngineOptions
from workers.engine_child import EngineJob
from workers.engine_queries import chosen_devices, engine_report
from workers.engines import make_reserve_engine, start_engine_children

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAST = "realesr-animevideov3"

FAILING_PROGRAM = (
    'print(\'{"type": "unusable", "code": "no_usable_device", "message": "A GPU fails its self-test."}\')'
)
MISSING_FILES_PROGRAM = (
    'print(\'{"type": "unusable", "code": "weights_error", "message": "A file is damaged."}\')'
)
CRASHING_PROGRAM = "import os; os.abort()"
SILENT_PROGRAM = "import time; time.sleep(600)"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that simulates a machine with a real CPU and GPUs; a GPU's child runs the given
    program.
    """

    def with_cards(**programs: str) -> None:
        cards = {f"vulkan:{name[4:]}": program for name, program in programs.items()}
        real = engine_process.engine_command

        def command(options: EngineOptions) -> list[str]:
            if options.device in cards:
                return [sys.executable, "-c", cards[options.device]]
            if options.device == "cpu":
                return real(options)
            ids = list(cards) if options.device == "auto" else options.device.split(",")
            return [sys.executable, "-c", f"print({json.dumps({'type': 'devices', 'ids': ids})!r})"]

        monkeypatch.setattr(engine_process, "engine_command", command)

    return with_cards


def devices(options: EngineOptions, **others: Any) -> list[str]:
    engines = start_engine_children(options, **others)
    try:
        return [engine.start().device for engine in engines]
    finally:
        for engine in engines:
            engine.close()


@pytest.mark.parametrize("fault", [FAILING_PROGRAM, CRASHING_PROGRAM])
def test_device_failing_at_start_is_excluded(
    machine: Any, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine(card0=fault)

    assert devices(EngineOptions("vulkan:0,cpu")) == ["cpu"]
    assert "device_excluded" in caplog.text


def test_silent_device_is_excluded(
    machine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine(card0=SILENT_PROGRAM, card1=SILENT_PROGRAM)
    monkeypatch.setattr(engine_child, "START_SECONDS", 0.5)

    with pytest.raises(NoUsableDevice):
        start_engine_children(EngineOptions("vulkan:0,vulkan:1"))
    assert "vulkan:0 cannot be started: the engine sent no message for 0.5 s" in caplog.text


def test_auto_uses_the_cpu_when_every_gpu_fails(machine: Any) -> None:
    machine(card0=FAILING_PROGRAM, card1=CRASHING_PROGRAM)

    assert devices(EngineOptions()) == ["cpu"]


def test_no_engine_when_every_named_device_fails(machine: Any) -> None:
    machine(card0=FAILING_PROGRAM, card1=CRASHING_PROGRAM)

    with pytest.raises(NoUsableDevice, match="vulkan:0, vulkan:1"):
        start_engine_children(EngineOptions("vulkan:0,vulkan:1"))


# A program that behaves like a child that is ready and then waits.
READY_PROGRAM = """print('{"type": "hello", "device": "vulkan:0", "device_name": "Some card", "model": "realesrgan-x4plus", '
'"versions": {}, "tile_side": 192, "slowest_seconds": 0.1, "excluded_devices": []}', flush=True); input()"""


def test_cpu_is_the_reserve_only_for_auto(machine: Any) -> None:
    machine(card0=READY_PROGRAM)

    for setting, expected in (("auto", True), ("vulkan:0,cpu", False)):
        options = EngineOptions(setting)
        engines = start_engine_children(options)
        reserve = make_reserve_engine(options, engines)
        try:
            assert (reserve is not None) is expected
            if reserve is not None:
                assert reserve.start().device == "cpu"
        finally:
            for engine in filter(None, [*engines, reserve]):
                engine.close()


def test_damaged_files_raise_weights_error_and_stop_all(machine: Any) -> None:
    machine(card0=MISSING_FILES_PROGRAM)
    before = set(psutil.Process().children())

    with pytest.raises(WeightsError, match="damaged"):
        start_engine_children(EngineOptions("cpu,vulkan:0"))

    assert set(psutil.Process().children()) <= before


def test_unknown_device_fails_start() -> None:
    with pytest.raises(UnknownDevice, match="'vulkan:77'"):
        start_engine_children(EngineOptions("cpu,vulkan:77"))


@pytest.mark.vulkan
def test_auto_chooses_no_software_device() -> None:
    software = _software_devices()
    if not software:
        pytest.skip("no software Vulkan device on this machine (Debian: mesa-vulkan-drivers)")

    assert not set(chosen_devices(EngineOptions())) & set(software)


@pytest.mark.vulkan
def test_each_device_has_its_own_child(image_file: Path, tmp_path: Path) -> None:
    software = _software_devices()
    if not software:
        pytest.skip("no software Vulkan device on this machine (Debian: mesa-vulkan-drivers)")
    engines = start_engine_children(EngineOptions(f"cpu,{software[0]}", FAST))
    results = []
    try:
        for number, engine in enumerate(engines):
            target = tmp_path / f"result-{number}.png"
            results.append(
                engine.upscale(
                    EngineJob(image_file, target, Sizing(2)),
                    on_progress=lambda _done, _total: None,
                    keep_going=lambda: True,
                )
            )
        assert len({engine.pid for engine in engines}) == 2
    finally:
        for engine in engines:
            engine.close()

    assert [result.device for result in results] == ["cpu", software[0]]
    assert {result.result for result in results} == {(96, 80)}


def _software_devices() -> list[str]:
    report = engine_report(EngineOptions(model=FAST))
    return [device.id for device in report.devices if device.kind == "software Vulkan"]
