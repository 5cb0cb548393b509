"""Draw a scene, upscale it with the engine on the CPU and write ``before-after.png`` for the README."""  # noqa: INP001

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw, ImageFont

from domain.sizing import Sizing
from workers.engine_child import EngineChild, EngineJob, EngineOptions

TARGET = Path(__file__).with_name("before-after.png")
MODEL = "realesr-animevideov3"
SCALE = 4
ORIGINAL_SIZE = (112, 84)
SCENE_SIZE = (140, 105)  # in the units in which the shapes below are given
OVERSAMPLING = 16  # pixels of the drawing per unit, on each side
GAP_PIXELS = 12
LABEL_PIXELS = 34
LABELS = ("original, bicubic 4x", "Uprez 4x")

_SKY_TOP, _SKY_BOTTOM = (38, 92, 160), (250, 214, 165)
_SEA_TOP, _SEA_BOTTOM = (72, 128, 160), (18, 52, 92)
_INK = (28, 30, 44)
_HORIZON = 62.0


def draw_scene() -> Image.Image:
    """Return the scene as an RGB image of ``ORIGINAL_SIZE``, reduced from a much larger drawing."""
    width, height = (side * OVERSAMPLING for side in SCENE_SIZE)
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    horizon = round(_HORIZON * OVERSAMPLING)
    _fill_gradient(draw, width, 0, horizon, _SKY_TOP, _SKY_BOTTOM)
    _fill_gradient(draw, width, horizon, height, _SEA_TOP, _SEA_BOTTOM)
    _draw_sun(draw)
    _draw_hills(draw)
    _draw_lighthouse(draw)
    _draw_waves(draw)
    _draw_boat(draw)
    _draw_sign(draw)
    return image.resize(ORIGINAL_SIZE, Image.Resampling.BOX)


def compose(original: Image.Image, upscaled: Image.Image) -> Image.Image:
    """Return the bicubic enlargement and the engine's result side by side, each with its label below."""
    bicubic = original.resize(upscaled.size, Image.Resampling.BICUBIC)
    width, height = upscaled.size
    sheet = Image.new("RGB", (2 * width + GAP_PIXELS, height + LABEL_PIXELS), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(20)
    for index, (panel, label) in enumerate(zip((bicubic, upscaled), LABELS, strict=True)):
        left = index * (width + GAP_PIXELS)
        sheet.paste(panel, (left, 0))
        draw.text((left + width / 2, height + LABEL_PIXELS / 2), label, fill=_INK, font=font, anchor="mm")
    return sheet


def upscale(original: Image.Image) -> Image.Image:
    """Return the engine's result, computed by the child process that ``uprez upscale`` starts."""
    with TemporaryDirectory() as folder, EngineChild(EngineOptions("cpu", MODEL)) as engine:
        source, target = Path(folder) / "original.png", Path(folder) / "result.png"
        original.save(source)
        job = EngineJob(source, target, Sizing(SCALE, None, None))
        engine.upscale(job, on_progress=lambda _done, _total: None, keep_going=lambda: True)
        with Image.open(target) as result:
            return result.convert("RGB")


def _at(*coordinates: float) -> list[float]:
    """Return coordinates in units of the scene as pixels of the drawing."""
    return [coordinate * OVERSAMPLING for coordinate in coordinates]


def _pen(width: float) -> int:
    """Return a line width in units of the scene as pixels of the drawing."""
    return round(width * OVERSAMPLING)


def _fill_gradient(
    draw: ImageDraw.ImageDraw,
    width: int,
    top: int,
    bottom: int,
    first: tuple[int, int, int],
    last: tuple[int, int, int],
) -> None:
    for y in range(top, bottom):
        share = (y - top) / (bottom - top)
        color = tuple(round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
        draw.line([0, y, width, y], fill=color)


def _draw_sun(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse(_at(84, 30, 104, 50), fill=(255, 236, 160), outline=(240, 170, 90), width=_pen(1))
    for step in range(16):
        angle = step * math.pi / 8
        x, y = math.cos(angle), math.sin(angle)
        ray = _at(94 + 12.5 * x, 40 + 12.5 * y, 94 + 16.5 * x, 40 + 16.5 * y)
        draw.line(ray, fill=(255, 228, 150), width=_pen(0.9))


def _draw_hills(draw: ImageDraw.ImageDraw) -> None:
    far = [(x, _HORIZON - 8 - 5 * math.sin(x / 15 + 1)) for x in range(SCENE_SIZE[0] + 1)]
    near = [(x, _HORIZON - 1 - 10 * math.exp(-(((x - 14) / 26) ** 2))) for x in range(75)]
    for ridge, color in ((far, (92, 122, 150)), (near, (58, 104, 76))):
        outline = [(ridge[0][0], _HORIZON), *ridge, (ridge[-1][0], _HORIZON)]
        draw.polygon([(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in outline], fill=color)


def _draw_lighthouse(draw: ImageDraw.ImageDraw) -> None:
    top, bottom = 18.0, 55.0
    bands = 6
    for band in range(bands):
        y0, y1 = (top + (bottom - top) * (band + step) / bands for step in (0, 1))
        half0, half1 = (3.4 + 2.6 * (y - top) / (bottom - top) for y in (y0, y1))
        color = (206, 52, 46) if band % 2 == 0 else (248, 244, 236)
        draw.polygon(_at(20 - half0, y0, 20 + half0, y0, 20 + half1, y1, 20 - half1, y1), fill=color)
    draw.line(_at(16.6, top, 14, bottom, 26, bottom, 23.4, top), fill=_INK, width=_pen(0.8), joint="curve")
    draw.rectangle(_at(14.5, 16.4, 25.5, 18.2), fill=_INK)
    draw.rectangle(_at(17.2, 10.5, 22.8, 16.5), fill=(255, 232, 130), outline=_INK, width=_pen(0.8))
    draw.line(_at(20, 10.5, 20, 16.5), fill=_INK, width=_pen(0.7))
    draw.polygon(_at(15.8, 10.8, 24.2, 10.8, 20, 5.5), fill=(150, 34, 36), outline=_INK, width=_pen(0.7))
    for y in (26.5, 38.5):
        draw.rectangle(_at(18.9, y, 21.1, y + 3.4), fill=_INK)


def _draw_boat(draw: ImageDraw.ImageDraw) -> None:
    draw.polygon(_at(62, 78, 98, 78, 92, 86, 68, 86), fill=(122, 66, 38), outline=_INK, width=_pen(0.9))
    draw.line(_at(63.5, 80.6, 96.3, 80.6), fill=(240, 226, 196), width=_pen(0.9))
    draw.line(_at(79, 78, 79, 47), fill=_INK, width=_pen(1.1))
    draw.polygon(_at(80.6, 50, 80.6, 75, 96.6, 75), fill=(250, 246, 236), outline=_INK, width=_pen(0.8))
    draw.polygon(_at(77.6, 52, 77.6, 75, 63.5, 75), fill=(234, 120, 62), outline=_INK, width=_pen(0.8))
    for share in (0.35, 0.6, 0.82):
        y = 49 + 26 * share
        draw.line(_at(80.4, y, 80.4 + 16.6 * share, y), fill=(176, 168, 158), width=_pen(0.5))
    draw.polygon(_at(79, 47, 79, 42.5, 87, 44.7), fill=(206, 52, 46), outline=_INK, width=_pen(0.6))
    draw.line(_at(62, 78, 79, 47.5, 98, 78), fill=_INK, width=_pen(0.4))


def _draw_waves(draw: ImageDraw.ImageDraw) -> None:
    for row, y in enumerate((67, 73, 89, 95, 101)):
        for x in range(-6 + 7 * (row % 2), SCENE_SIZE[0], 15):
            draw.arc(_at(x, y, x + 11, y + 5), 200, 340, fill=(196, 222, 230), width=_pen(0.8))


def _draw_sign(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle(_at(119.5, 84, 122.5, 105), fill=(104, 72, 44), outline=_INK, width=_pen(0.6))
    draw.rounded_rectangle(
        _at(104, 64, 138, 86), radius=2.5 * OVERSAMPLING, fill=(250, 244, 226), outline=_INK, width=_pen(0.9)
    )
    for text, y, size in (("PORT", 69.7, 10), ("PIER 4", 79.9, 9.4)):
        font = ImageFont.load_default(size * OVERSAMPLING)
        stroke = _pen(0.12)
        draw.text(_at(121, y), text, fill=_INK, font=font, anchor="mm", stroke_width=stroke)


def main() -> None:
    """Write ``before-after.png`` beside this script."""
    original = draw_scene()
    compose(original, upscale(original)).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
