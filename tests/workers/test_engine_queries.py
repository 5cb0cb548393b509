from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from own_models import write_own_model

from workers.engine.errors import UnknownDevice
from workers.engine.options import EngineOptions
from workers.engine_queries import engine_report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an operator's folder with one model: a shipped one under another name."""
    write_own_model(tmp_path / "models")
    return tmp_path / "models"


def test_report_lists_devices_models_and_choice() -> None:
    report = engine_report(EngineOptions("cpu"))

    (cpu,) = report.devices
    assert (cpu.id, cpu.used, cpu.model, cpu.problem) == ("cpu", True, "realesr-animevideov3", None)
    assert cpu.agreement_db > 45
    assert [model.name for model in report.models] == [
        "realesr-animevideov3",
        "realesrgan-x4plus",
        "realesrgan-x4plus-anime",
    ]
    assert [len(model.files) for model in report.models] == [6, 2, 2]
    assert report.problems == ()
    assert "cpu (as set)" in report.choice


def test_report_lists_own_models_and_their_problems(models: Path) -> None:
    options = EngineOptions("cpu", "mine", models=models)
    report = engine_report(options)

    assert report.problems == ()
    assert (report.models[-1].name, report.models[-1].scales) == ("mine", (2,))
    assert [file.name for file in report.models[-1].files] == ["mine-x2.param", "mine-x2.bin"]
    (cpu,) = report.devices
    assert (cpu.model, cpu.agreement_db) == ("mine", 99)

    manifest = models / "mine.toml"
    manifest.write_text(manifest.read_text().replace("scale = 2", "scale = 3"))
    (problem,) = engine_report(EngineOptions("cpu", models=models)).problems
    assert problem.startswith("The network mine-x2 does not match its manifest")

    (models / "mine-x2.bin").unlink()
    report = engine_report(options)
    assert report.problems == ("The network file mine-x2.bin cannot be read: No such file or directory.",)


def test_report_on_unknown_device_raises() -> None:
    with pytest.raises(UnknownDevice, match="vulkan:77"):
        engine_report(EngineOptions("vulkan:77"))
