"""The networks of one model on one device: loaded when first needed, checked once, then kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_agreement, expected_samples

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Model, Precision


class LoadedModel:
    def __init__(
        self,
        model: Model,
        device: Device,
        precision: Precision,
        folder: Path,
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self._precision = precision
        self._folder = folder
        self._threads = threads
        self._cache = cache
        self._networks: dict[int, LoadedNetwork] = {}

    def network_for(self, factor: float) -> LoadedNetwork:
        """The network for an enlargement by ``factor``, known to answer rightly on this device.

        Raises WeightsError for files that are not the known ones, ManifestError for an operator's network that
        is not what it is said to be, DeviceFault for a wrong answer.
        """
        network = self.model.network_for(factor)
        if network.scale not in self._networks:
            expected_samples(network)  # first: an operator's network may be at fault, and no device
            folder = network.folder or self._folder
            loaded = LoadedNetwork(network, self.device, self._precision, folder, self._threads, self._cache)
            check_agreement(loaded)
            self._networks[network.scale] = loaded
        return self._networks[network.scale]
