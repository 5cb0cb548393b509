from __future__ import annotations

import io
import resource
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, TiffImagePlugin

from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.sizing import Caps, Size
from workers.engine.codecs.decode import decode
from workers.engine.codecs.decode_frames import Frames, Timing, read_frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Written = Callable[..., Path]

ANIMATED = [ImageFormat.GIF, ImageFormat.PNG, ImageFormat.WEBP]
CAPS = Caps()


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return a function that saves frames with Pillow and returns the file."""

    def write(frames: list[Image.Image], image_format: str, **options: Any) -> Path:
        path = tmp_path / "frames"
        frames[0].save(path, image_format, save_all=True, append_images=frames[1:], **options)
        return path

    return write


def moving(mode: str, count: int = 4, size: tuple[int, int] = (40, 30)) -> list[Image.Image]:
    """Return frames of a disc that moves to the right, in few enough colours for a GIF."""
    frames = []
    for index in range(count):
        frame = Image.new(mode, size)
        box = (4 + index * 6, 5, 15 + index * 6, 16)
        ImageDraw.Draw(frame).ellipse(box, fill={"L": 200}.get(mode, (230, 120, 40)))
        frames.append(frame)
    return frames


def pages_of(*pages: tuple[Image.Image, dict[str, Any]]) -> bytes:
    """Return a TIFF of pages, each with its own options."""
    content = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(content) as tiff:
        for image, options in pages:
            image.save(tiff, "TIFF", **options)
            tiff.newFrame()
    return content.getvalue()


def visible_frames(frames: Frames) -> list[np.ndarray]:
    """Return ``(H, W, 4)`` for each frame, with zeros for transparent pixels."""
    seen = []
    for decoded in frames.images():
        pixels = decoded.pixels
        colour = np.broadcast_to(pixels[..., :-1] if decoded.has_alpha else pixels, (*pixels.shape[:2], 3))
        alpha = pixels[..., -1:] if decoded.has_alpha else np.full_like(pixels[..., :1], 255)
        seen.append(np.concatenate((np.where(alpha > 0, colour, 0), alpha), axis=2))
    return seen


@pytest.mark.parametrize("image_format", ImageFormat)
def test_single_image_has_one_frame_and_no_timing(
    image_format: ImageFormat, crop: Image.Image, tmp_path: Path
) -> None:
    crop.save(tmp_path / "single", image_format.value)

    frames = read_frames(tmp_path / "single", CAPS)

    alone = decode(tmp_path / "single")
    assert (frames.sizes, frames.encoding, frames.timing) == ((Size(48, 40),), alone.encoding, None)
    (decoded,) = frames.images()
    np.testing.assert_array_equal(decoded.pixels, alone.pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("image_format", ANIMATED)
def test_frames_are_composed(image_format: ImageFormat, mode: str, written: Written) -> None:
    """Pillow writes only the difference to the frame before."""
    originals = moving(mode)
    options = {"disposal": 2} if image_format is ImageFormat.GIF and mode == "RGBA" else {}

    frames = read_frames(
        written(originals, image_format.value, lossless=True, duration=[10, 20, 30, 500], loop=7, **options),
        CAPS,
    )

    assert frames.sizes == (Size(40, 30),) * 4
    assert frames.timing == Timing((10, 20, 30, 500), 7)
    assert frames.encoding.lossless is (image_format is ImageFormat.WEBP)
    for _ in range(2):
        for seen, original in zip(visible_frames(frames), originals, strict=True):
            np.testing.assert_array_equal(seen, np.asarray(original.convert("RGBA")))


def test_gif_without_loop_has_no_loop_count(written: Written) -> None:
    timing = read_frames(written(moving("RGB"), "gif", duration=40), CAPS).timing

    assert timing == Timing((40,) * 4, None)


def test_png_default_image_is_detected(written: Written) -> None:
    frames = read_frames(written(moving("RGB"), "png", default_image=True, duration=40), CAPS)

    assert len(frames.sizes) == 4
    assert frames.timing is not None
    assert frames.timing.hidden_first


def test_animation_frames_have_the_same_channels(written: Written) -> None:
    """Pillow keeps the palette of a GIF's first frame and converts the other frames to RGB."""
    gray, coloured = moving("L", 1)[0].convert("RGB"), moving("RGB", 2)[1]

    frames = read_frames(written([gray, coloured], "gif"), CAPS)

    assert [decoded.pixels.shape[2] for decoded in frames.images()] == [3, 3]
    assert not frames.neutral
    first, second = visible_frames(frames)
    np.testing.assert_array_equal(first[..., :3], np.asarray(gray))
    np.testing.assert_array_equal(second[..., :3], np.asarray(coloured))


@pytest.mark.parametrize("image_format", ANIMATED)
def test_gray_animation_is_neutral(image_format: ImageFormat, written: Written) -> None:
    path = written(moving("L"), image_format.value, lossless=True)

    assert read_frames(path, CAPS).neutral


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_every_frame_is_upright(image_format: str, written: Written) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    originals = moving("RGB")

    frames = read_frames(written(originals, image_format, lossless=True, exif=exif), CAPS)

    assert frames.sizes == (Size(30, 40),) * 4
    for seen, original in zip(visible_frames(frames), originals, strict=True):
        np.testing.assert_array_equal(
            seen[..., :3], np.asarray(original.transpose(Image.Transpose.ROTATE_270))
        )


def test_exif_after_the_frames_turns_all_frames(written: Written) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    originals = moving("RGB")
    path = written(originals, "png")
    png, note = path.read_bytes(), b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    path.write_bytes(png[:-12] + chunk + png[-12:])

    frames = read_frames(path, CAPS)

    assert frames.sizes == (Size(30, 40),) * 4
    for seen, original in zip(visible_frames(frames), originals, strict=True):
        turned = original.transpose(Image.Transpose.ROTATE_270)
        np.testing.assert_array_equal(seen[..., :3], np.asarray(turned))


def test_pages_keep_their_size_mode_and_profile(crop: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray16 = Image.fromarray(np.arange(0, 60_000, 1000, dtype=np.uint16).reshape(6, 10))
    (tmp_path / "pages").write_bytes(
        pages_of(
            (crop, {"icc_profile": profile, "dpi": (300, 300)}),
            (crop.convert("LA").resize((30, 70)), {}),
            (gray16, {"compression": "tiff_lzw"}),
            (crop.convert("CMYK").resize((9, 7)), {}),
        )
    )

    frames = read_frames(tmp_path / "pages", CAPS)

    images = list(frames.images())
    assert frames.sizes == ((48, 40), (30, 70), (10, 6), (9, 7))
    assert frames.timing is None
    assert [decoded.pixels.shape[2] for decoded in images] == [3, 2, 1, 3]
    assert [decoded.pixels.dtype for decoded in images] == [np.uint8, np.uint8, np.uint16, np.uint8]
    assert [decoded.metadata.icc_profile for decoded in images] == [profile, None, None, None]
    assert [decoded.metadata.dpi for decoded in images] == [(300, 300), None, None, None]
    np.testing.assert_array_equal(images[0].pixels, np.asarray(crop))
    np.testing.assert_array_equal(images[2].pixels[..., 0], np.asarray(gray16))


@pytest.mark.parametrize("subfile_type", [1, 4])
def test_thumbnails_and_masks_are_not_pages(subfile_type: int, crop: Image.Image, tmp_path: Path) -> None:
    small = crop.resize((12, 10))
    (tmp_path / "pages").write_bytes(
        pages_of((crop, {}), (small, {"tiffinfo": {254: subfile_type}}), (small, {"tiffinfo": {254: 2}}))
    )

    assert read_frames(tmp_path / "pages", CAPS).sizes == ((48, 40), (12, 10))


def test_second_image_of_mpo_is_ignored(crop: Image.Image, written: Written) -> None:
    path = written([crop, crop.resize((4, 3))], "mpo")

    assert read_frames(path, CAPS).sizes == ((48, 40),)


@pytest.mark.parametrize(
    ("image_format", "count", "message"),
    [
        ("gif", 201, "more than 200 frames"),
        ("png", 201, "more than 200 frames"),
        ("webp", 201, "more than 200 frames"),
        ("tiff", 51, "more than 50 pages"),
    ],
)
def test_too_many_frames_are_rejected(image_format: str, count: int, message: str, written: Written) -> None:
    frames = [Image.new("L", (3, 1), index % 2 * 255) for index in range(count)]

    with pytest.raises(InvalidImage, match=message):
        read_frames(written(frames, image_format), CAPS)
    assert len(read_frames(written(frames[1:], image_format), CAPS).sizes) == count - 1


@pytest.mark.parametrize("image_format", ["gif", "png", "webp", "tiff"])
def test_pixel_cap_applies_to_all_frames_together(image_format: str, written: Written) -> None:
    path = written(moving("RGB"), image_format)

    with pytest.raises(InvalidImage, match="more than 4,799 pixels in all its frames or pages"):
        read_frames(path, Caps(max_pixels=4799))
    assert len(read_frames(path, Caps(max_pixels=4800)).sizes) == 4


GIF_HEADER = b"GIF89a" + struct.pack("<HHBBB", 8, 6, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


def gif_frame(width: int, height: int, disposal: int = 0) -> bytes:
    """Return a frame that states this size and holds a single pixel."""
    control = b"\x21\xf9\x04" + bytes([disposal << 2 | 1]) + b"\5\0\0\0"
    return control + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0"


@pytest.mark.parametrize("disposal", range(4))
@pytest.mark.parametrize("frames", [1, 2])
def test_huge_gif_frame_is_rejected_without_memory(disposal: int, frames: int, tmp_path: Path) -> None:
    content = GIF_HEADER + gif_frame(1, 1) * (frames - 1) + gif_frame(65_535, 65_535, disposal) + b";"
    (tmp_path / "huge").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(InvalidImage, match="more than 1,000,000 pixels"):
        read_frames(tmp_path / "huge", Caps(max_pixels=1_000_000))

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


# Pillow's canvas grows with every frame, although the part beyond the first frame is cut.
def test_growing_gif_canvas_is_held_to_the_cap(tmp_path: Path) -> None:
    beyond = b"," + struct.pack("<HHHHB", 899, 899, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    (tmp_path / "growing").write_bytes(GIF_HEADER + gif_frame(1, 1) + beyond * 2 + b";")

    assert len(read_frames(tmp_path / "growing", Caps(max_pixels=2_430_000)).sizes) == 3
    with pytest.raises(InvalidImage, match="more than 2,400,000 pixels in all its frames"):
        read_frames(tmp_path / "growing", Caps(max_pixels=2_400_000))


def test_data_after_apng_end_is_ignored(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "animation.png", save_all=True, append_images=frames[1:])
    with (tmp_path / "animation.png").open("ab") as file:
        file.write(b"\n")

    assert len(read_frames(tmp_path / "animation.png", CAPS).sizes) == 2


def test_gif_frame_is_cut_to_the_canvas(tmp_path: Path) -> None:
    content = bytearray()
    for side, colour in ((8, "red"), (20, "blue")):
        alone = io.BytesIO()
        Image.new("RGB", (side, side), colour).save(alone, "GIF")
        content += alone.getvalue()[:-1] if not content else b""
        second = alone.getvalue()
    start = second.index(b",", 13)
    table = second[13:start]
    descriptor = bytearray(second[start : start + 10])
    descriptor[9] |= 0x80 | second[10] & 7
    (tmp_path / "beyond").write_bytes(bytes(content) + bytes(descriptor) + table + second[start + 10 :])

    frames = read_frames(tmp_path / "beyond", CAPS)

    assert frames.sizes == ((8, 8), (8, 8))
    assert [frame.shape for frame in visible_frames(frames)] == [(8, 8, 4)] * 2
    assert tuple(visible_frames(frames)[1][7, 7]) == (0, 0, 255, 255)


def broken_png(content: bytes) -> bytes:
    at = content.rindex(b"fdAT") + 12
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def announcing_more(content: bytes) -> bytes:
    at = content.index(b"acTL")
    data = b"acTL" + struct.pack(">II", 9, 0)
    return content[:at] + data + struct.pack(">I", zlib.crc32(data)) + content[at + 16 :]


@pytest.mark.parametrize(
    ("image_format", "damage"),
    [
        ("png", broken_png),
        ("png", announcing_more),
        ("gif", lambda content: content[: int(len(content) * 0.9)]),
        ("webp", lambda content: content[: int(len(content) * 0.9)]),
        ("tiff", lambda content: content[: int(len(content) * 0.9)]),
    ],
)
def test_damage_in_last_frame_is_found_by_read_frames(
    image_format: str, damage: Callable[[bytes], bytes], coffee: Image.Image, written: Written
) -> None:
    originals = [coffee.crop((at, 0, at + 40, 30)) for at in (0, 40, 80)]
    path = written(originals, image_format)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(InvalidImage):
        read_frames(path, CAPS)
