"""Errors of the engine itself; an image that cannot be read or written is ``domain.errors.InvalidImage``.

UprezError
├── EngineUnusable      the engine cannot start with these settings on this machine; a retry does not help
│   ├── WeightsError        a file of a network is missing, or its checksum is wrong
│   ├── ManifestError       the manifest of an operator's model is invalid, or its network does not match it
│   ├── UnknownModel
│   ├── UnknownDevice
│   └── NoUsableDevice      no permitted device passes its start and its self-test
├── DeviceFault         a device failed a call, or returned wrong numbers
│   └── TileTooLarge        it failed on a tile, as it does when its memory is too small for the tile
├── EngineLost          the child process died, hung or failed on this job: costs one attempt
│   └── EngineFaulty        its device returned a wrong result
├── EngineCancelled     the caller cancelled the job
└── InvalidImage
    └── ModelUnusable       the job's model is missing or cannot be used; another model may work for the image
"""

from __future__ import annotations

from domain.errors import InvalidImage, UprezError


def unusable_error(code: str, message: str) -> EngineUnusable:
    """Return an error with this message, of the subclass of EngineUnusable that has this code.

    It is of EngineUnusable itself if none has it.
    """
    classes = (WeightsError, ManifestError, UnknownModel, UnknownDevice, NoUsableDevice)
    return next((error for error in classes if error.code == code), EngineUnusable)(message)


class EngineUnusable(UprezError):
    code = "engine_unusable"


class WeightsError(EngineUnusable):
    code = "weights_error"


class ManifestError(EngineUnusable):
    code = "manifest_error"


class UnknownModel(EngineUnusable):
    code = "unknown_model"


class UnknownDevice(EngineUnusable):
    code = "unknown_device"


class NoUsableDevice(EngineUnusable):
    code = "no_usable_device"


class DeviceFault(UprezError):
    code = "device_fault"


class TileTooLarge(DeviceFault):
    code = "tile_too_large"


class EngineLost(UprezError):
    code = "engine_lost"


class EngineFaulty(EngineLost):
    code = "engine_faulty"


class EngineCancelled(UprezError):
    code = "engine_cancelled"


class ModelUnusable(InvalidImage):
    """The image is not at fault, and a retry does not help; the message is still shown to the image's owner."""

    code = "model_unusable"
