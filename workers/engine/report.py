"""The report about the engine for ``uprez doctor``: devices, models, the choice, and the self-tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.engine.errors import DeviceFault, EngineUnusable
from workers.engine.inference.device import choose_devices, cpu_device, list_devices
from workers.engine.inference.models import check_file, choose_model, weights_folder
from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import agreement_db, check_agreement, expected_samples
from workers.engine.options import AUTO, CPU
from workers.engine.report_types import DeviceReport, EngineReport, FileReport, ModelReport
from workers.engine.start import known_models, precision_for, tiles_for, versions

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Model, Network
    from workers.engine.options import EngineOptions


def describe(options: EngineOptions) -> EngineReport:
    """Return the report on all devices and models, checked now, which takes some seconds.

    Run this only in a child process, because it loads the Vulkan drivers. Raise EngineUnusable for settings
    that name a missing device or model.
    """
    folder = weights_folder()
    known = known_models(options)
    chosen = choose_devices(options.device)
    devices = [cpu_device()] if options.device == CPU else list_devices()
    tested = {
        device: _self_test(choose_model(options.model, device, known), device, options, folder)
        for device in devices
    }
    # This is the rule of a worker's start: a device that fails its self-test is not used, and if ``auto`` has
    # no device left, the CPU is used.
    passing = [device for device in chosen if not tested[device].faulty]
    used = passing or ([cpu_device()] if options.device == AUTO else chosen)
    models = tuple(_model_report(model, folder, options, used[0]) for model in known.values())
    problems = [tested[device].problem for device in chosen]
    problems += [file.problem for model in models for file in model.files]
    problems += [_network_problem(network) for model in known.values() for network in model.networks]
    problems += [model.problem for model in models if model.name == tested[used[0]].model]
    return EngineReport(
        versions(),
        tuple(_device_report(device, test, used=device in used) for device, test in tested.items()),
        models,
        _choice(options, used, tested[used[0]].model),
        tuple(dict.fromkeys(problem for problem in problems if problem)),
    )


@dataclass(frozen=True)
class _SelfTest:
    model: str
    agreement_db: float | None = None
    problem: str | None = None
    faulty: bool = False


def _self_test(model: Model, device: Device, options: EngineOptions, folder: Path) -> _SelfTest:
    """Test the model's network for factor 1 on the device, and return the result.

    A fault is part of it, not an error. ``faulty`` is True only if the device is at fault, not the files.
    """
    first = model.network_for(1)
    agreement = None
    try:
        expected_samples(first)  # first: an invalid operator's network is no device fault
        network = LoadedNetwork(
            first, device, precision_for(options, model), first.folder or folder, cache=options.network_cache
        )
        agreement = agreement_db(network)
        check_agreement(network)
    except DeviceFault as fault:
        return _SelfTest(model.name, agreement, str(fault), faulty=True)
    except EngineUnusable as error:  # the files are at fault, not the device
        return _SelfTest(model.name, agreement, str(error))
    return _SelfTest(model.name, agreement)


def _network_problem(network: Network) -> str | None:
    """Return the problem of an operator's network; a shipped network is verified by its checksums."""
    try:
        expected_samples(network)
    except EngineUnusable as error:
        return str(error)
    return None


def _device_report(device: Device, test: _SelfTest, *, used: bool) -> DeviceReport:
    """Return the report of one device from its self-test."""
    return DeviceReport(
        device.id, device.name, device.kind.value, used, test.model, test.agreement_db, test.problem
    )


def _model_report(model: Model, folder: Path, options: EngineOptions, device: Device) -> ModelReport:
    """Return the report of one model.

    It has the checksums of its files, and says whether its tiles fit into memory on this device.
    """
    files = [
        FileReport(name, expected, check_file((network.folder or folder) / name, expected))
        for network in model.networks
        for name, expected in network.files.items()
    ]
    problem = None
    try:
        tiles_for(options, model, device)
    except EngineUnusable as error:
        problem = str(error)
    scales = tuple(network.scale for network in model.networks)
    return ModelReport(model.name, scales, tuple(files), problem)


def _choice(options: EngineOptions, used: list[Device], model: str) -> str:
    """Return one line that names the devices and the model in use and the reason for each."""
    first = used[0]
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
        why_model = "on a CPU it is about 17 times as fast as realesrgan-x4plus"
    return f"{devices} ({why_device}) with {model} ({why_model})"
