from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from workers.engine.inference import calibration
from workers.engine.inference.calibration import tile_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TimedNetwork:
    """A network and a clock: each pixel takes the same time, and nothing else takes time."""

    def __init__(self, seconds_per_pixel: float) -> None:
        self._seconds_per_pixel = seconds_per_pixel
        self._now = 0.0
        self.sides: list[int] = []

    def monotonic(self) -> float:
        return self._now

    def __call__(self, tile: NDArray[object]) -> NDArray[object]:
        _, height, width = tile.shape
        self.sides.append(width)
        self._now += height * width * self._seconds_per_pixel
        return tile


@pytest.mark.parametrize(
    ("seconds_per_pixel", "sides"),
    [(1e-3, [32]), (1e-6, [32, 64, 128]), (1e-9, [32, 64, 128, 256, 300])],
    ids=["slow", "as a CPU", "fast"],
)
def test_slow_device_is_measured_on_smaller_tiles(
    monkeypatch: pytest.MonkeyPatch, seconds_per_pixel: float, sides: list[int]
) -> None:
    network = TimedNetwork(seconds_per_pixel)
    monkeypatch.setattr(calibration, "time", network)

    assert tile_seconds(network, 300, at_once=1) == pytest.approx(300 * 300 * seconds_per_pixel)
    assert network.sides == sides


def test_small_tile_is_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network = TimedNetwork(1e-9)
    monkeypatch.setattr(calibration, "time", network)

    tile_seconds(network, 20, at_once=1)

    assert network.sides == [20]


def test_tiles_are_measured_in_parallel() -> None:
    # Each tile waits for the others, so sequential calls would never end.
    together = threading.Barrier(3, timeout=60)

    assert tile_seconds(lambda tile: tile[: together.wait() or None], 8, at_once=3) >= 0
