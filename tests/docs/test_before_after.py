"""The script that makes the README's before/after image."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from PIL import Image, ImageChops

from project_root import ROOT

FOLDER = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def script() -> Any:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("make_before_after", FOLDER / "make_before_after.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_before_after_scene_is_drawn(script: Any) -> None:
    scene = script.draw_scene()

    assert (scene.mode, scene.size) == ("RGB", script.ORIGINAL_SIZE)
    assert len(scene.getcolors(maxcolors=scene.width * scene.height)) > 1000
    assert f"{scene.width} × {scene.height} pixels" in (ROOT / "README.md").read_text("utf-8")


def test_before_after_image_shows_the_scene(script: Any) -> None:
    scene = script.draw_scene()
    enlarged = scene.resize(tuple(side * script.SCALE for side in scene.size), Image.Resampling.BICUBIC)
    sheet = script.compose(scene, enlarged)
    left = (0, 0, *enlarged.size)

    with Image.open(FOLDER / "before-after.png") as published:
        assert published.size == sheet.size
        difference = ImageChops.difference(published.convert("RGB").crop(left), sheet.crop(left))
    assert max(high for _low, high in difference.getextrema()) <= 2
    assert (FOLDER / "before-after.png").stat().st_size < 300_000
