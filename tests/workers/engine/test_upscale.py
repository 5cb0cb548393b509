from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.sizing import Caps, Size, Sizing
from workers.engine import heartbeat
from workers.engine import upscale as upscaling
from workers.engine.codecs import encode_frames as frame_encoding
from workers.engine.codecs.decode import Encoding, decode
from workers.engine.codecs.decode_frames import Timing, read_frames
from workers.engine.codecs.encode import encode
from workers.engine.codecs.encode_frames import encode_frames
from workers.engine.codecs.metadata import Metadata
from workers.engine.errors import EngineCancelled
from workers.engine.inference.device import cpu_device
from workers.engine.inference.loaded_model import LoadedModel
from workers.engine.inference.models import X4PLUS_ANIME, weights_folder
from workers.engine.upscale import Upscaled, upscale_file

if TYPE_CHECKING:
    from collections.abc import Callable

    Upscale = Callable[..., Upscaled]
    Psnr = Callable[..., float]


@pytest.fixture
def upscale(animevideo: LoadedModel) -> Upscale:
    def run(source: Path, target: Path, sizing: Sizing | None = None, **options: object) -> Upscaled:
        settings = {
            "caps": Caps(),
            "tile_side": 32,
            "threads": 2,
            "on_progress": lambda *_: None,
            "cancelled": lambda: False,
        } | options
        return upscale_file(source, target, sizing or Sizing(2), model=animevideo, **settings)

    return run


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(float)


@pytest.mark.parametrize(
    ("sizing", "size"),
    [
        (Sizing(2), (96, 80)),
        (Sizing(3), (144, 120)),
        (Sizing(4), (192, 160)),
        (Sizing(target_width=113), (113, 94)),
        (Sizing(target_height=151), (181, 151)),
        (Sizing(target_width=61, target_height=157), (61, 157)),
        (Sizing(target_width=49), (49, 41)),
    ],
)
def test_result_has_exactly_the_requested_size(
    sizing: Sizing, size: tuple[int, int], image_file: Path, tmp_path: Path, upscale: Upscale
) -> None:
    target = tmp_path / "result.png"

    upscaled = upscale(image_file, target, sizing)

    assert upscaled == Upscaled(Size(48, 40), Size(*size), ImageFormat.PNG)
    with Image.open(target) as image:
        assert image.size == size


@pytest.mark.parametrize("sizing", [Sizing(2), Sizing(3), Sizing(4), Sizing(target_width=113)])
def test_result_shows_the_same_image_better_than_lanczos(
    sizing: Sizing, crop: Image.Image, image_file: Path, tmp_path: Path, upscale: Upscale, psnr: Psnr
) -> None:
    target = tmp_path / "result.png"
    size = upscale(image_file, target, sizing).result

    result = pixels(target)

    for plain in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC):
        assert psnr(result, np.asarray(crop.resize(size, plain))) < 40
    with Image.open(target) as image:
        assert psnr(np.asarray(image.resize(crop.size, Image.Resampling.BOX)), np.asarray(crop)) >= 24


@pytest.mark.parametrize("size", [(1, 1), (1, 53), (47, 1), (2, 3), (37, 41)])
def test_unusual_sizes_are_upscaled(
    size: tuple[int, int], coffee: Image.Image, tmp_path: Path, upscale: Upscale
) -> None:
    source = saved(coffee.crop((300, 60, 300 + size[0], 60 + size[1])), tmp_path / "odd.png")

    assert upscale(source, tmp_path / "result.png", Sizing(3)).result == (size[0] * 3, size[1] * 3)


@pytest.mark.parametrize("image_format", ImageFormat)
def test_result_has_the_format_of_the_original(
    image_format: ImageFormat, crop: Image.Image, tmp_path: Path, upscale: Upscale
) -> None:
    source = saved(crop, tmp_path / "misleading.txt", format=image_format.value)

    assert upscale(source, tmp_path / "result").image_format is image_format

    with Image.open(tmp_path / "result") as image:
        assert image.format == image_format.value.upper()
        assert image.size == (96, 80)


def test_threads_do_not_change_the_result(image_file: Path, tmp_path: Path, upscale: Upscale) -> None:
    results = []
    for threads in (1, 2, 3):
        upscale(image_file, tmp_path / "result.png", threads=threads)
        results.append((tmp_path / "result.png").read_bytes())

    assert results[0] == results[1] == results[2]


def test_tiled_result_has_no_seam(image_file: Path, tmp_path: Path, upscale: Upscale, psnr: Psnr) -> None:
    upscale(image_file, tmp_path / "tiled.png", tile_side=16)
    upscale(image_file, tmp_path / "whole.png", tile_side=64)

    tiled, whole = pixels(tmp_path / "tiled.png"), pixels(tmp_path / "whole.png")
    assert psnr(tiled, whole) >= 50
    assert np.abs(tiled - whole).max() <= 1


def test_result_equals_the_network_output(
    crop: Image.Image,
    image_file: Path,
    tmp_path: Path,
    upscale: Upscale,
    animevideo: LoadedModel,
    psnr: Psnr,
) -> None:
    upscale(image_file, tmp_path / "result.png")

    alone = animevideo.network_for(2)(np.asarray(crop).transpose(2, 0, 1).astype(np.float32) / 255)
    assert psnr(pixels(tmp_path / "result.png"), (alone.clip(0, 1) * 255).transpose(1, 2, 0)) >= 50


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_stays_exactly_gray(mode: str, crop: Image.Image, tmp_path: Path, upscale: Upscale) -> None:
    source = saved(crop.convert("L").convert(mode), tmp_path / "gray.png")

    upscale(source, tmp_path / "result.png")

    with Image.open(tmp_path / "result.png") as image:
        assert image.mode == mode
        red, green, blue = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)


@pytest.mark.parametrize(
    ("image_format", "channels"),
    [("png", 1), ("png", 2), ("png", 3), ("png", 4), ("tiff", 1), ("tiff", 3), ("tiff", 4)],
)
def test_16bit_result_has_more_than_8_bits(
    image_format: str, channels: int, tmp_path: Path, upscale: Upscale
) -> None:
    slope = np.linspace(20_000, 21_000, 48 * 40).astype(np.uint16).reshape(40, 48, 1).repeat(channels, axis=2)
    source = tmp_path / "slope"
    encode(slope, Encoding(ImageFormat(image_format)), Metadata(), source)

    upscale(source, tmp_path / "result")

    result = decode(tmp_path / "result").pixels
    assert result.dtype == np.uint16
    assert result.shape == (80, 96, channels)
    for channel in range(channels):
        assert len(np.unique(result[..., channel])) > 256
        assert abs(int(result[..., channel].mean()) - int(slope.mean())) < 2000


def test_tiff_pages_keep_their_depth(crop: Image.Image, tmp_path: Path, upscale: Upscale) -> None:
    random = np.random.default_rng(0)
    pages = [random.integers(0, 65_536, (9, 11, channels), dtype=np.uint16) for channels in (3, 1, 4)]
    images = iter((image, Metadata()) for image in (*pages, crop))
    encode_frames(images, Encoding(ImageFormat.TIFF), None, tmp_path / "pages")

    upscale(tmp_path / "pages", tmp_path / "result")

    results = [decoded.pixels for decoded in read_frames(tmp_path / "result", Caps()).images()]
    assert [(result.shape, result.dtype.name) for result in results] == [
        ((18, 22, 3), "uint16"),
        ((18, 22, 1), "uint16"),
        ((18, 22, 4), "uint16"),
        ((80, 96, 3), "uint8"),
    ]
    assert all((result % 257 != 0).any() for result in results[:3])


def test_alpha_edge_keeps_colour_and_flat_alpha_stays_flat(tmp_path: Path, upscale: Upscale) -> None:
    # The transparent pixels around the orange disc hide black, which must not show.
    image = Image.new("RGBA", (64, 64))
    rows, columns = np.mgrid[0:64, 0:64]
    inside = (rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 20**2
    values = np.zeros((64, 64, 4), np.uint8)
    values[inside] = (230, 120, 40, 255)
    image = Image.fromarray(values)

    upscale(saved(image, tmp_path / "disc.png"), tmp_path / "result.png")

    result = pixels(tmp_path / "result.png")
    alpha = result[..., 3]
    assert (alpha[:16] == 0).all()
    assert (alpha[56:72, 56:72] == 255).all()
    visible = result[alpha > 0]
    assert np.abs(visible[:, :3] - (230, 120, 40)).max() < 16
    assert alpha.mean() / 255 == pytest.approx(inside.mean(), abs=0.01)


def test_half_transparent_area_shows_no_tile_borders(tmp_path: Path, upscale: Upscale) -> None:
    values = np.full((60, 160, 4), 128, np.uint8)
    rows, columns = np.mgrid[0:60, 0:160]
    distance = np.hypot(rows - 29.5, columns - 39.5)
    values[distance < 12, 3] = 255

    upscale(saved(Image.fromarray(values), tmp_path / "glass.png"), tmp_path / "result.png")

    alpha = pixels(tmp_path / "result.png")[..., 3]
    away = (distance > 15).repeat(2, axis=0).repeat(2, axis=1)
    assert (alpha[away] == 128).all()
    assert alpha[58:62, 78:82].min() == 255


def test_opaque_alpha_stays_opaque(crop: Image.Image, tmp_path: Path, upscale: Upscale) -> None:
    upscale(
        saved(crop.convert("RGBA"), tmp_path / "opaque.png"),
        tmp_path / "result.png",
        Sizing(target_width=113),
    )

    assert (pixels(tmp_path / "result.png")[..., 3] == 255).all()


def test_rotated_image_is_measured_upright(crop: Image.Image, tmp_path: Path, upscale: Upscale) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = saved(crop, tmp_path / "side.jpg", exif=exif)

    assert upscale(source, tmp_path / "result.jpg").result == (80, 96)


def test_progress_counts_every_tile(image_file: Path, tmp_path: Path, upscale: Upscale) -> None:
    seen: list[tuple[int, int]] = []

    upscale(image_file, tmp_path / "result.png", on_progress=lambda done, total: seen.append((done, total)))

    assert seen == [(done, 4) for done in range(5)]


@pytest.mark.parametrize(("step", "number"), [("encode", 4), ("_fill_transparent", 0)])
def test_slow_step_sends_heartbeats(
    step: str,
    number: int,
    image_file: Path,
    tmp_path: Path,
    upscale: Upscale,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int]] = []
    beats: list[tuple[int, int]] = []  # the progress at each
    said_often = threading.Event()
    quick = getattr(upscaling, step)

    def slow(*arguments: object) -> object:
        assert said_often.wait(60)
        return quick(*arguments)

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))

    def on_heartbeat() -> None:
        beats.append(seen[-1] if seen else (0, 4))
        if beats.count((number, 4)) > 3:
            said_often.set()

    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(upscaling, step, slow)
    upscale(image_file, tmp_path / "result.png", on_progress=on_progress, on_heartbeat=on_heartbeat)

    assert seen == [(done, 4) for done in range(5)]
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


# A tile of a deep network takes many seconds: the job must send heartbeats and stay cancellable.
def test_slow_tile_reports_stages_and_can_be_cancelled(image_file: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    options = {
        "caps": Caps(),
        "model": LoadedModel(X4PLUS_ANIME, cpu_device(), X4PLUS_ANIME.precision, weights_folder()),
        "tile_side": 48,
        "threads": 1,
        "on_progress": lambda done, total: calls.append((done, total)),
    }

    with pytest.raises(EngineCancelled):
        upscale_file(image_file, tmp_path / "x.png", Sizing(4), **options, cancelled=lambda: len(calls) > 2)
    stages = 20
    assert calls == [(0, stages), (1, stages), (2, stages)]

    calls.clear()
    upscale_file(image_file, tmp_path / "x.png", Sizing(4), **options, cancelled=lambda: False)
    # The last stage of a tile counts when the tile is joined.
    assert calls == [(done, stages) for done in (*range(stages), stages - 1, stages)]


# Colour and transparency run through the network one after the other, so the stages of one tile come twice.
def test_progress_never_decreases_with_transparency(crop: Image.Image, tmp_path: Path) -> None:
    crop = crop.resize((24, 20))
    crop.putalpha(crop.convert("L"))
    calls: list[tuple[int, int]] = []

    upscale_file(
        saved(crop, tmp_path / "image.png"),
        tmp_path / "x.png",
        Sizing(4),
        caps=Caps(),
        model=LoadedModel(X4PLUS_ANIME, cpu_device(), X4PLUS_ANIME.precision, weights_folder()),
        tile_side=16,
        threads=2,
        on_progress=lambda done, total: calls.append((done, total)),
        cancelled=lambda: False,
    )

    assert calls == sorted(calls)
    assert calls[-1] == (80, 80)


def test_cancelled_job_stops_between_tiles(image_file: Path, tmp_path: Path, upscale: Upscale) -> None:
    seen: list[int] = []

    with pytest.raises(EngineCancelled):
        upscale(
            image_file,
            tmp_path / "result.png",
            on_progress=lambda done, _: seen.append(done),
            cancelled=lambda: len(seen) > 2,
        )

    assert seen == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [image_file]


@pytest.mark.parametrize(
    ("image_format", "sizing", "caps", "message"),
    [
        ("png", Sizing(target_width=20_000), Caps(), "16,384 pixels on a side"),
        ("png", Sizing(target_width=100, target_height=101), Caps(max_side=100), "100 pixels on a side"),
        ("png", Sizing(2), Caps(max_pixels=7679), "at most 7,679 pixels."),
        ("png", Sizing(2), Caps(max_pixels=1919), "has more than 1,919 pixels"),
        ("webp", Sizing(target_width=16_384, target_height=41), Caps(), "format .* 16,383 pixels on a side"),
        ("webp", Sizing(target_width=101), Caps(max_side=100), "A result can .* 100 pixels on a side"),
    ],
)
def test_result_over_caps_is_rejected_before_tiles(
    image_format: str,
    sizing: Sizing,
    caps: Caps,
    message: str,
    crop: Image.Image,
    tmp_path: Path,
    upscale: Upscale,
) -> None:
    source = saved(crop, tmp_path / "image", format=image_format)

    with pytest.raises(InvalidImage, match=message):
        upscale(source, tmp_path / "result", sizing, caps=caps, on_progress=lambda *_: pytest.fail("worked"))


# --- several images in one file


def moving(crop: Image.Image, mode: str) -> list[Image.Image]:
    """Return frames of a piece of a photograph that moves, then stays, on a photograph or a transparent
    canvas.
    """
    frames = []
    for left in (0, 14, 28, 28):
        frame = crop.convert(mode) if mode == "RGB" else Image.new(mode, crop.size)
        frame.paste(crop.rotate(90).crop((14, 10, 34, 30)).convert(mode), (left, 12))
        frames.append(frame)
    return frames


def read_composed(path: Path) -> list[np.ndarray]:
    """Return ``(H, W, 4)`` for each frame, with zeros for transparent pixels."""
    with Image.open(path) as image:
        frames = [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    for frame in frames:
        frame[frame[..., 3] == 0] = 0
    return frames


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("image_format", ["gif", "png", "webp"])
def test_frame_equals_its_upscaling_as_a_single_image(
    image_format: str, mode: str, crop: Image.Image, tmp_path: Path, upscale: Upscale, psnr: Psnr
) -> None:
    first, *others = moving(crop, mode)
    disposal = {"disposal": 2} if (image_format, mode) == ("gif", "RGBA") else {}
    source = saved(
        first,
        tmp_path / f"moving.{image_format}",
        save_all=True,
        append_images=others,
        duration=[40, 50, 60, 500],
        loop=3,
        lossless=True,
        **disposal,
    )
    target = tmp_path / f"result.{image_format}"

    assert upscale(source, target, Sizing(target_width=101)).result == (101, 84)

    results = read_composed(target)
    frames = read_frames(source, Caps())
    for index in range(len(frames.sizes)):
        with Image.open(source) as image:
            image.seek(index)
            alone = saved(image.convert(mode), tmp_path / "alone.png")
        upscale(alone, tmp_path / "larger.png", Sizing(target_width=101))
        (expected,) = read_composed(tmp_path / "larger.png")
        if image_format == "gif":
            there = expected[..., 3] >= 128
            np.testing.assert_array_equal(results[index][..., 3] == 255, there)
            assert psnr(results[index][there][:, :3], expected[there][:, :3]) > 30
        else:
            np.testing.assert_array_equal(results[index], expected)
    assert read_frames(target, Caps()).timing == frames.timing


@pytest.mark.parametrize("image_format", ["gif", "png"])
def test_equal_frames_have_equal_results(
    image_format: str, crop: Image.Image, tmp_path: Path, upscale: Upscale
) -> None:
    frames = moving(crop, "RGB")
    images = ((image, Metadata()) for image in (*frames, frames[0]))
    # Pillow would merge equal frames.
    encode_frames(images, Encoding(ImageFormat(image_format)), Timing((40,) * 5, 0), tmp_path / "source")

    upscale(tmp_path / "source", tmp_path / "result")

    results = read_composed(tmp_path / "result")
    assert len(results) == 5
    np.testing.assert_array_equal(results[2], results[3])
    if image_format == "png":
        np.testing.assert_array_equal(results[0], results[4])


@pytest.fixture
def animation(crop: Image.Image, tmp_path: Path) -> Path:
    first, *others = moving(crop, "RGBA")
    return saved(first, tmp_path / "moving.png", save_all=True, append_images=others[:2], duration=40)


def test_pages_grow_by_the_factor_of_the_first(crop: Image.Image, tmp_path: Path, upscale: Upscale) -> None:
    pages = [crop, crop.convert("L").crop((0, 0, 20, 33)), crop.convert("RGBA").crop((0, 0, 31, 9))]
    source = saved(pages[0], tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])

    upscaled = upscale(source, tmp_path / "result.tiff", Sizing(target_width=120))

    assert upscaled == Upscaled(Size(48, 40), Size(120, 100), ImageFormat.TIFF)
    results = list(read_frames(tmp_path / "result.tiff", Caps()).images())
    assert [decoded.size for decoded in results] == [(120, 100), (50, 83), (78, 23)]
    assert [decoded.pixels.shape[2] for decoded in results] == [3, 1, 4]
    for decoded, page in zip(results, pages, strict=True):
        upscale(saved(page, tmp_path / "alone.png"), tmp_path / "larger.png", size_of(decoded.size))
        np.testing.assert_array_equal(np.squeeze(decoded.pixels), pixels(tmp_path / "larger.png"))


def size_of(size: Size) -> Sizing:
    return Sizing(target_width=size.width, target_height=size.height)


def test_progress_counts_the_tiles_of_all_frames(animation: Path, tmp_path: Path, upscale: Upscale) -> None:
    seen: list[tuple[int, int]] = []

    upscale(animation, tmp_path / "result.png", on_progress=lambda done, total: seen.append((done, total)))

    assert seen == sorted(seen)
    assert set(seen) == {(done, 12) for done in range(13)}


def test_slow_frame_encoder_sends_heartbeats(
    animation: Path, tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    beats: list[tuple[int, int]] = []  # the progress at each
    said_often = threading.Event()
    quick = frame_encoding.write
    calls = iter(range(3))

    def slow_at_the_second(*arguments: Any) -> None:
        if next(calls) == 1:
            assert said_often.wait(60)
        quick(*arguments)

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))

    def on_heartbeat() -> None:
        beats.append(seen[-1] if seen else (0, 12))
        if beats.count((8, 12)) > 3:
            said_often.set()

    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(frame_encoding, "write", slow_at_the_second)
    upscale(animation, tmp_path / "result.png", on_progress=on_progress, on_heartbeat=on_heartbeat)

    assert seen == sorted(seen)
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_cancelled_animation_leaves_no_file(animation: Path, tmp_path: Path, upscale: Upscale) -> None:
    seen: list[int] = []

    with pytest.raises(EngineCancelled):
        upscale(
            animation,
            tmp_path / "result.png",
            on_progress=lambda done, _: seen.append(done),
            cancelled=lambda: bool(seen) and seen[-1] == 6,
        )

    assert seen[-1] == 6
    assert list(tmp_path.iterdir()) == [animation]
    assert not {thread.name for thread in threading.enumerate()} & {"heartbeat", "tile_0", "tile_1"}


@pytest.mark.parametrize(
    ("sizing", "caps", "message"),
    [
        (Sizing(2), Caps(max_pixels=3 * 7680 - 1), "at most 23,039 pixels in all its frames or pages"),
        (Sizing(2), Caps(max_pixels=3 * 1920 - 1), "has more than 5,759 pixels in all its frames or pages"),
        (Sizing(target_width=101), Caps(max_side=100), "100 pixels on a side"),
    ],
)
def test_animation_over_caps_is_rejected_before_tiles(
    sizing: Sizing, caps: Caps, message: str, animation: Path, tmp_path: Path, upscale: Upscale
) -> None:
    with pytest.raises(InvalidImage, match=message):
        upscale(
            animation, tmp_path / "result", sizing, caps=caps, on_progress=lambda *_: pytest.fail("worked")
        )


def test_caps_may_exceed_the_defaults(image_file: Path, tmp_path: Path, upscale: Upscale) -> None:
    upscaled = upscale(
        image_file,
        tmp_path / "result.png",
        Sizing(target_width=16_400, target_height=41),
        caps=Caps(max_side=20_000),
    )

    assert upscaled.result == (16_400, 41)
