"""What ``uprez doctor`` shows about the engine: devices, models, what would be used, and whether it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.engine.device import choose_devices, cpu_device, list_devices
from workers.engine.errors import DeviceFault, EngineUnusable
from workers.engine.golden import agreement_db, check_golden
from workers.engine.models import MODELS, check_file, choose_model, weights_folder
from workers.engine.network import LoadedNetwork
from workers.engine.protocol import AUTO, CPU, DeviceReport, EngineReport, FileReport, ModelReport
from workers.engine.start import precision_for, versions

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.device import Device
    from workers.engine.models import Model
    from workers.engine.protocol import EngineOptions


def describe(options: EngineOptions) -> EngineReport:
    """Everything, checked now: takes some seconds. Only in a child, because it loads the Vulkan drivers.

    Raises EngineUnusable for settings that name what is not there.
    """
    folder = weights_folder()
    chosen = choose_devices(options.device)
    devices = [cpu_device()] if options.device == CPU else list_devices()
    tested = {device: _self_test(device, options, folder) for device in devices}
    # As at the start of a worker: what fails its self-test makes way for others, and all of ``auto`` for the CPU.
    sound = [device for device in chosen if not tested[device].faulty]
    used = sound or ([cpu_device()] if options.device == AUTO else chosen)
    models = tuple(_model_report(model, folder) for model in MODELS.values())
    problems = [tested[device].problem for device in chosen]
    problems += [file.problem for model in models for file in model.files]
    return EngineReport(
        versions(),
        tuple(_device_report(device, options, test, used=device in used) for device, test in tested.items()),
        models,
        _choice(options, used),
        tuple(problem for problem in problems if problem),
    )


@dataclass(frozen=True)
class _SelfTest:
    agreement_db: float | None = None
    problem: str | None = None
    faulty: bool = False


def _self_test(device: Device, options: EngineOptions, folder: Path) -> _SelfTest:
    model = choose_model(options.model, device)
    agreement = None
    try:
        network = LoadedNetwork(
            model.network_for(1), device, precision_for(options, model), folder, kept=options.kept
        )
        agreement = agreement_db(network)
        check_golden(network)
    except DeviceFault as fault:
        return _SelfTest(agreement, str(fault), faulty=True)
    except EngineUnusable as error:  # the files' fault, not the device's
        return _SelfTest(agreement, str(error))
    return _SelfTest(agreement)


def _device_report(device: Device, options: EngineOptions, test: _SelfTest, *, used: bool) -> DeviceReport:
    model = choose_model(options.model, device).name
    return DeviceReport(
        device.id, device.name, device.kind.value, used, model, test.agreement_db, test.problem
    )


def _model_report(model: Model, folder: Path) -> ModelReport:
    files = [
        FileReport(name, expected, check_file(folder / name, expected))
        for network in model.networks
        for name, expected in network.files.items()
    ]
    return ModelReport(model.name, tuple(network.scale for network in model.networks), tuple(files))


def _choice(options: EngineOptions, used: list[Device]) -> str:
    first = used[0]
    model = choose_model(options.model, first).name
    devices = ", ".join(device.id for device in used)
    if options.device != AUTO:
        why_device = "as set"
    elif first.is_hardware_gpu:
        why_device = "a GPU was found"
    else:
        why_device = "there is no hardware GPU that works"
    if options.model != AUTO:
        why_model = "as set"
    elif first.is_hardware_gpu:
        why_model = "a GPU can afford the best model"
    else:
        why_model = "on a CPU it is about thirty times faster than realesrgan-x4plus"
    return f"{devices} ({why_device}) with {model} ({why_model})"
