"""The networks of one model on one device, loaded and checked at their first use, then kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.engine.inference.network import LoadedNetwork
from workers.engine.inference.self_test import check_agreement, expected_samples

if TYPE_CHECKING:
    from pathlib import Path

    from workers.engine.inference.device import Device
    from workers.engine.inference.models import Model, Precision


class LoadedModel:
    """A model on a device."""

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
        """Return the network for an enlargement by ``factor``; it has passed its self-test on this device.

        Raise WeightsError for files with a wrong checksum, ManifestError for an operator's network that does
        not match its manifest, DeviceFault for a wrong result.
        """
        network = self.model.network_for(factor)
        if network.scale not in self._networks:
            expected_samples(network)  # first: an invalid operator's network is no device fault
            folder = network.folder or self._folder
            loaded = LoadedNetwork(network, self.device, self._precision, folder, self._threads, self._cache)
            check_agreement(loaded)
            self._networks[network.scale] = loaded
        return self._networks[network.scale]
