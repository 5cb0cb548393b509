from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from own_models import write_own_model

from workers.engine import model_cache, start
from workers.engine.errors import (
    DeviceFault,
    ModelUnusable,
    TileTooLarge,
)
from workers.engine.inference.models import ANIMEVIDEO, X4PLUS_ANIME, weights_folder
from workers.engine.model_cache import ModelCache
from workers.engine.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.engine.start import PreparedModel

ANIME = X4PLUS_ANIME.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an operator's folder with one model."""
    write_own_model(tmp_path / "models")
    return tmp_path / "models"


def engine_for(models: ModelCache, name: str | None) -> tuple[PreparedModel, bool]:
    """Return the engine for the model, and whether the model was loaded for this call."""
    calls: list[str] = []
    return models.prepared(name, lambda: calls.append("loading")), bool(calls)


def test_model_is_loaded_once_at_first_use(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu", models=folder))

    first, loaded_now = engine_for(models, None)
    assert (first.loaded.model, loaded_now) == (ANIMEVIDEO, False)
    mine, loaded_now = engine_for(models, "mine")
    assert (mine.loaded.model.name, loaded_now) == ("mine", True)
    assert engine_for(models, "mine") == (mine, False)
    assert engine_for(models, ANIMEVIDEO.name) == engine_for(models, "auto") == (first, False)


def test_tile_side_is_per_model_and_capped(folder: Path) -> None:
    write_own_model(folder, "small", cpu_tile=48)

    def side(name: str, tile_side: int | None) -> int:
        models = ModelCache(EngineOptions("cpu", tile_side=tile_side, models=folder))
        return engine_for(models, name)[0].tile_side

    assert [side("mine", None), side("small", None)] == [200, 48]
    assert [side("mine", 64), side("small", 64)] == [64, 48]


def test_slowest_seconds_is_measured_per_model(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu"))

    assert engine_for(models, ANIME)[0].slowest_seconds > engine_for(models, None)[0].slowest_seconds > 0


def test_unknown_model_does_not_affect_others(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu", models=folder))

    with pytest.raises(ModelUnusable, match="There is no model 'waifu2x'"):
        engine_for(models, "waifu2x")

    assert engine_for(models, "mine")[0].loaded.network_for(2)


def change_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("damage", [change_last_byte, lambda path: path.unlink()], ids=["damaged", "missing"])
def test_damaged_model_does_not_affect_others(
    damage: object, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = ModelCache(EngineOptions("cpu", models=folder))
    damage(folder / "mine-x2.bin")

    with pytest.raises(ModelUnusable, match="The model mine cannot be used at present"):
        engine_for(models, "mine")

    assert (
        "mine-x2.bin" in caplog.text
    )  # the log is for the operator, the error message for the image's owner
    assert engine_for(models, None)[0].loaded.network_for(2)


def test_damaged_shipped_model_is_unusable(tmp_path: Path) -> None:
    shutil.copytree(weights_folder(), tmp_path, dirs_exist_ok=True)
    change_last_byte(tmp_path / f"{X4PLUS_ANIME.network_for(4).stem}.bin")
    models = ModelCache(EngineOptions("cpu"), tmp_path)

    with pytest.raises(ModelUnusable, match="realesrgan-x4plus-anime cannot be used"):
        engine_for(models, ANIME)


# UPREZ_ENGINE_MEMORY_MB limits the whole engine, not each model.
def test_memory_limit_keeps_one_model_loaded(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu", memory_mb=2000, models=folder))

    assert engine_for(models, "mine")[1]
    assert engine_for(models, None)[1]
    assert engine_for(models, "mine")[1]
    assert list(models._loaded) == ["mine"]


def test_model_too_large_for_memory_is_unusable(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu", memory_mb=200, models=folder))

    with pytest.raises(ModelUnusable, match="mine cannot be used"):
        engine_for(models, "mine")
    assert engine_for(models, None)[0].loaded.model is ANIMEVIDEO


def failing(times: int, fault: DeviceFault) -> Callable[..., PreparedModel]:
    left = [fault] * times

    def prepare(*rest: object) -> PreparedModel:
        if left:
            raise left.pop()
        return start.prepare(*rest)

    return prepare


def test_load_failure_unloads_other_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelCache(EngineOptions("cpu", models=folder))
    monkeypatch.setattr(model_cache, "prepare", failing(1, TileTooLarge("no room")))

    assert engine_for(models, "mine")[1]
    assert list(models._loaded) == ["mine"]


# It is not TileTooLarge because smaller tiles would not help. A retry may succeed, so the model stays usable.
@pytest.mark.parametrize("name", [ANIME, "mine"])
def test_failed_load_can_be_retried(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelCache(EngineOptions("cpu", models=folder))
    monkeypatch.setattr(model_cache, "prepare", failing(2, TileTooLarge("no room")))

    with pytest.raises(DeviceFault) as caught:
        engine_for(models, name)

    assert type(caught.value) is DeviceFault
    assert engine_for(models, name)[0].loaded.network_for(2)


def test_is_default_is_true_for_the_start_model(folder: Path) -> None:
    models = ModelCache(EngineOptions("cpu", "mine", models=folder))

    assert [models.is_default(name) for name in (None, "auto", "mine", ANIME)] == [True, True, True, False]
