"""What can go wrong with the engine itself; what is wrong with a picture is ``domain.errors.InvalidImage``.

UprezError
├── EngineUnusable      the engine cannot start with these settings on this machine; trying again will not help
│   ├── WeightsError        a file of a network is missing or is not the file we know
│   ├── ManifestError       what an operator's model is said to be cannot be, or its network does not do it
│   ├── UnknownModel
│   ├── UnknownDevice
│   └── NoSoundDevice       no device that may be used gets through its start and its self-test
├── DeviceFault         a device failed a call, or answers with wrong numbers
│   └── TileTooLarge        it failed on a tile, as it does when its memory is too small for that one
├── EngineLost          the child process died, hung or broke on this job: costs one attempt
│   └── EngineFaulty        its device answered with what cannot be right
├── EngineCancelled     the caller wanted the job no more
└── PictureError
    └── ModelUnusable       the job's model is not there or cannot be used; the picture may do with another
"""

from __future__ import annotations

from domain.errors import InvalidImage, UprezError


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


class NoSoundDevice(EngineUnusable):
    code = "no_sound_device"


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
    """Not the picture's fault, and trying again will not help; the sentence is for its owner all the same."""

    code = "model_unusable"
