"""The models of one engine, each loaded at the first job that needs it, on the device chosen at the start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from workers.engine.errors import DeviceFault, EngineUnusable, ModelUnusable, UnknownModel
from workers.engine.inference.memory import release_memory
from workers.engine.inference.models import choose_model
from workers.engine.options import AUTO
from workers.engine.start import known_models, prepare, start_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.engine.inference.models import Model
    from workers.engine.options import EngineOptions
    from workers.engine.start import PreparedModel

_log = logging.getLogger(__name__)


class ModelCache:
    """The loaded models of one device."""

    def __init__(self, options: EngineOptions, folder: Path | None = None) -> None:
        """Choose the best device and load its model. Raise EngineUnusable, as ``start_engine`` does."""
        self._options = options
        self._folder = folder
        self._known = known_models(options)
        first = start_engine(options, folder, self._known)
        self._device = first.loaded.device
        self._default = first.loaded.model
        self._loaded = {self._default.name: first}

    def prepared(self, name: str | None, on_loading: Callable[[], None]) -> PreparedModel:
        """Return the prepared model of this name; None: the model of the start.

        Call ``on_loading`` if the model must be loaded first. Raise ModelUnusable for a model that is missing
        or invalid, DeviceFault when the device fails, and EngineUnusable when the files of the start's model
        have changed.
        """
        try:
            model = self._default if name is None else choose_model(name, self._device, self._known)
        except UnknownModel as error:
            raise ModelUnusable(f"There is no model {name!r}.") from error
        if model.name not in self._loaded:
            on_loading()
            self._loaded[model.name] = self._load(model)
        return self._loaded[model.name]

    def is_default(self, name: str | None) -> bool:
        """Return True if a job with this model name gets the model of the start."""
        return name in {None, AUTO, self._default.name}

    def _load(self, model: Model) -> PreparedModel:
        """Load and test a model.

        With a memory limit on the CPU or on software Vulkan, all other models are dropped first. Raise
        ModelUnusable if it cannot be used because of its files or too little memory, that EngineUnusable
        itself for the model of the start, and DeviceFault when the device fails.
        """
        if self._options.memory_mb is not None and not self._device.is_hardware_gpu:
            # The side of a tile, and so a result's bytes, must not depend on earlier jobs.
            self._loaded.clear()
            release_memory()
        try:
            return self._prepare(model)
        except EngineUnusable as error:
            if self.is_default(model.name):
                raise
            _log.warning("model_unusable model=%s reason=%s", model.name, error)
            raise ModelUnusable(f"The model {model.name} cannot be used at present.") from error

    def _prepare(self, model: Model) -> PreparedModel:
        """Prepare a model; when the device fails, drop all other models and try once more.

        Raise DeviceFault and EngineUnusable.
        """
        try:
            return prepare(self._options, model, self._device, self._folder)
        except DeviceFault as fault:
            if not self._loaded:
                # It is not TileTooLarge: smaller tiles do not help a model that cannot be loaded.
                raise DeviceFault(str(fault)) from fault
            _log.warning("model_load_retried model=%s reason=%s", model.name, fault)
        self._loaded.clear()  # this may free the memory that is missing
        return self._prepare(model)
