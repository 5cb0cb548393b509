"""The models of one engine: each is loaded when a job first asks for it, on the device found at the start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from workers.engine.errors import DeviceFault, EngineUnusable, ModelUnusable, UnknownModel
from workers.engine.inference.memory import release_memory
from workers.engine.inference.models import choose_model
from workers.engine.protocol import AUTO
from workers.engine.start import known_models, prepare, start_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.engine.inference.models import Model
    from workers.engine.protocol import EngineOptions
    from workers.engine.start import Engine

_log = logging.getLogger(__name__)


class ModelCache:
    def __init__(self, options: EngineOptions, folder: Path | None = None) -> None:
        """The best device, with its model loaded. Raises EngineUnusable, as ``start_engine`` does."""
        self._options = options
        self._folder = folder
        self._known = known_models(options)
        first = start_engine(options, folder, self._known)
        self._device = first.model.device
        self._default = first.model.model
        self._loaded = {self._default.name: first}

    def engine_for(self, name: str | None, on_loading: Callable[[], None]) -> Engine:
        """With the model of this name; None: with that of the start. ``on_loading`` is called if it must be loaded.

        Raises ModelUnusable for a model that is not there or is at fault, DeviceFault, and EngineUnusable when
        the files of the start's model are no longer what they were.
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
        """Whether a job that asks for this model gets the one of the start."""
        return name in {None, AUTO, self._default.name}

    def _load(self, model: Model) -> Engine:
        if self._options.memory_mb is not None and not self._device.is_hardware_gpu:
            # The side of a tile, and so a result's bytes, must not depend on which jobs came before.
            self._loaded.clear()
            release_memory()
        try:
            return self._prepared(model)
        except EngineUnusable as error:
            if self.is_default(model.name):
                raise
            _log.warning("%s is refused: %s", model.name, error)
            raise ModelUnusable(f"The model {model.name} cannot be used at present.") from error

    def _prepared(self, model: Model) -> Engine:
        try:
            return prepare(self._options, model, self._device, self._folder)
        except DeviceFault as fault:
            if not self._loaded:
                # Not TileTooLarge: to a model that cannot even be loaded, smaller tiles are no help.
                raise DeviceFault(str(fault)) from fault
            _log.warning("%s is tried again without the others: %s", model.name, fault)
        self._loaded.clear()  # their memory may be what is missing
        return self._prepared(model)
