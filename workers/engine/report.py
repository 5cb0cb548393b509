"""What ``uprez doctor`` shows about the engine: devices, models, what would be used, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.engine.device import CPU, choose_devices, cpu_device, list_devices
from workers.engine.errors import DeviceFault, EngineUnusable
from workers.engine.golden import agreement_db, check_golden
from workers.engine.models import AUTO, MODELS, check_file, choose_model, weights_folder
from workers.engine.network import LoadedNetwork
from workers.engine.protocol import DeviceReport, EngineReport, FileReport, ModelReport
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
    used = choose_devices(options.device)
    devices = [cpu_device()] if options.device == CPU else list_devices()
    device_reports = tuple(_device_report(device, options, folder, used=device in used) for device in devices)
    models = tuple(_model_report(model, folder) for model in MODELS.values())
    problems = [report.problem for report in device_reports if report.used and report.problem]
    problems += [file.problem for model in models for file in model.files if file.problem]
    return EngineReport(versions(), device_reports, models, _choice(options, used), tuple(problems))


def _device_report(device: Device, options: EngineOptions, folder: Path, *, used: bool) -> DeviceReport:
    model = choose_model(options.model, device)
    agreement = problem = None
    try:
        network = LoadedNetwork(model.network_for(1), device, precision_for(options, model), folder)
        agreement = agreement_db(network)
        check_golden(network)
    except (DeviceFault, EngineUnusable) as error:
        problem = str(error)
    return DeviceReport(device.id, device.name, device.kind.value, used, model.name, agreement, problem)


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
        why_device = "no hardware GPU was found"
    if options.model != AUTO:
        why_model = "as set"
    elif first.is_hardware_gpu:
        why_model = "a GPU can afford the best model"
    else:
        why_model = "on a CPU it is about thirty times faster than realesrgan-x4plus"
    return f"{devices} ({why_device}) with {model} ({why_model})"
