from __future__ import annotations

import weakref
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageSequence

from domain.formats import ImageFormat
from domain.sizing import Caps
from workers.engine.codecs.decode import Encoding
from workers.engine.codecs.decode_frames import Timing, read_frames
from workers.engine.codecs.encode import HALF_OPAQUE
from workers.engine.codecs.encode_frames import encode_frames
from workers.engine.codecs.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Psnr = Callable[..., float]

GIF, PNG, WEBP, TIFF = ImageFormat.GIF, ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.TIFF
CAPS = Caps()


def without_metadata(images: list[Image.Image]) -> Iterator[tuple[Image.Image, Metadata]]:
    return ((image, Metadata()) for image in images)


def moving_frames(coffee: Image.Image, mode: str, count: int = 5) -> list[Image.Image]:
    """Return frames of a piece of a photograph that crosses the photograph or a transparent canvas."""
    piece = coffee.crop((300, 60, 324, 84)).convert(mode)
    frames = []
    for index in range(count):
        transparent = mode in {"LA", "RGBA"}
        frame = Image.new(mode, (96, 64)) if transparent else coffee.crop((0, 0, 96, 64)).convert(mode)
        box = (4 + index * 13, 20)
        disc = Image.new("L", piece.size)
        ImageDraw.Draw(disc).ellipse((0, 0, 23, 23), fill=255)
        frame.paste(piece, box, disc)
        frames.append(frame)
    return frames


def read_composed(path: Path) -> list[np.ndarray]:
    """Return the frames as a program shows them: ``(H, W, 4)``, zeros for transparent pixels."""
    with Image.open(path) as image:
        frames = [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    for frame in frames:
        frame[frame[..., 3] == 0] = 0
    return frames


def visible_pixels(image: Image.Image) -> np.ndarray:
    values = np.array(image.convert("RGBA"))
    values[values[..., 3] == 0] = 0
    return values


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("image_format", [PNG, WEBP])
def test_lossless_frames_roundtrip_exactly(
    image_format: ImageFormat, mode: str, coffee: Image.Image, tmp_path: Path
) -> None:
    images = moving_frames(coffee, mode)
    timing = Timing((40, 1000 / 30, 500, 70, 10), 3)
    if image_format is WEBP:  # WebP stores whole milliseconds
        timing = Timing((40, 33, 500, 70, 10), 3)

    encode_frames(
        without_metadata(images), Encoding(image_format, lossless=True), timing, tmp_path / "result"
    )

    back = read_frames(tmp_path / "result", CAPS).timing
    assert back is not None
    assert back.milliseconds == pytest.approx(timing.milliseconds)
    assert back.loop == 3
    for shown, image in zip(read_composed(tmp_path / "result"), images, strict=True):
        np.testing.assert_array_equal(shown, visible_pixels(image))


def test_16bit_gray_frames_keep_their_bits(tmp_path: Path) -> None:
    values = np.arange(0, 64_000, 1000, dtype=np.uint16).reshape(8, 8)
    images = [Image.fromarray(values), Image.fromarray(values[::-1].copy())]

    encode_frames(without_metadata(images), Encoding(PNG), Timing((40, 40), 0), tmp_path / "result")

    first, second = read_frames(tmp_path / "result", CAPS).images()
    np.testing.assert_array_equal(first.pixels[..., 0], values)
    np.testing.assert_array_equal(second.pixels[..., 0], values[::-1])


@pytest.mark.parametrize("image_format", [PNG, GIF])
def test_equal_frames_are_not_merged(image_format: ImageFormat, coffee: Image.Image, tmp_path: Path) -> None:
    image = coffee.crop((0, 0, 40, 30))
    timing = Timing((40, 50, 60), 0)

    encode_frames(without_metadata([image] * 3), Encoding(image_format), timing, tmp_path / "result")

    assert read_frames(tmp_path / "result", CAPS).timing == timing
    first, second, third = read_composed(tmp_path / "result")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


def test_webp_merges_equal_frames_and_adds_durations(coffee: Image.Image, tmp_path: Path) -> None:
    image, other = coffee.crop((0, 0, 40, 30)), coffee.crop((99, 99, 139, 129))

    encode_frames(
        without_metadata([image, image, other]), Encoding(WEBP), Timing((40, 50, 60), 0), tmp_path / "result"
    )

    assert read_frames(tmp_path / "result", CAPS).timing == Timing((90, 60), 0)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_animation_keeps_lossless_mode(
    lossless: bool, coffee: Image.Image, tmp_path: Path, psnr: Psnr
) -> None:
    images = moving_frames(coffee, "RGB")

    encode_frames(
        without_metadata(images), Encoding(WEBP, lossless=lossless), Timing((40,) * 5, 0), tmp_path / "result"
    )

    frames = read_frames(tmp_path / "result", CAPS)
    assert frames.encoding.lossless is lossless
    agreements = [
        psnr(shown, visible_pixels(image))
        for shown, image in zip(read_composed(tmp_path / "result"), images, strict=True)
    ]
    assert min(agreements) > (100 if lossless else 33)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_gif_frames_leave_no_trace_of_earlier_frames(
    mode: str, coffee: Image.Image, tmp_path: Path, psnr: Psnr
) -> None:
    images = moving_frames(coffee, mode)

    encode_frames(
        without_metadata(images), Encoding(GIF), Timing((40, 50, 60, 500, 0), 3), tmp_path / "result"
    )

    assert read_frames(tmp_path / "result", CAPS).timing == Timing((40, 50, 60, 500, 0), 3)
    for shown, image in zip(read_composed(tmp_path / "result"), images, strict=True):
        expected = visible_pixels(image)
        np.testing.assert_array_equal(shown[..., 3], expected[..., 3])
        assert psnr(shown, expected) > 35
        if mode in {"L", "LA"}:
            np.testing.assert_array_equal(shown[..., 0], shown[..., 1])
            np.testing.assert_array_equal(shown[..., 0], shown[..., 2])


def test_gif_animation_alpha_threshold_is_half(coffee: Image.Image, tmp_path: Path) -> None:
    alphas = [Image.linear_gradient("L").resize((96, 64)).rotate(angle) for angle in (0, 180, 0)]
    images = [coffee.crop((0, 0, 96, 64)) for _ in alphas]
    for image, alpha in zip(images, alphas, strict=True):
        image.putalpha(alpha)

    encode_frames(without_metadata(images), Encoding(GIF), Timing((40,) * 3, 0), tmp_path / "result")

    for shown, alpha in zip(read_composed(tmp_path / "result"), alphas, strict=True):
        np.testing.assert_array_equal(shown[..., 3] == 255, np.asarray(alpha) >= HALF_OPAQUE)
        np.testing.assert_array_equal(shown[..., 3] == 0, np.asarray(alpha) < HALF_OPAQUE)


NOTHING, RED, GREEN, WHITE = (0, 0, 0, 0), (255, 0, 0, 255), (0, 130, 0, 255), (255, 255, 255, 255)
cels = st.lists(
    st.lists(st.sampled_from([NOTHING, RED, GREEN, WHITE]), min_size=12, max_size=12), min_size=2, max_size=6
)


@pytest.mark.parametrize("image_format", [GIF, PNG, WEBP])
@given(cels=cels)
@example(cels=[[RED] * 6 + [RED] * 6, [RED] * 6 + [GREEN] * 6, [NOTHING] * 6 + [GREEN] * 6])
@settings(max_examples=60)
def test_any_change_between_frames_is_shown(
    image_format: ImageFormat, cels: list[list[tuple[int, ...]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.getbasetemp() / "cels"
    frames = [np.array(cel, np.uint8).reshape(3, 4, 4) for cel in cels]
    # The WebP encoder would merge equal frames.
    unequal = [frames[0], *(later for earlier, later in pairwise(frames) if (earlier != later).any())]
    images = [Image.fromarray(frame) for frame in unequal]

    encode_frames(
        without_metadata(images),
        Encoding(image_format, lossless=True),
        Timing((40,) * len(images), 0),
        target,
    )

    for shown, frame in zip(read_composed(target), unequal, strict=True):
        np.testing.assert_array_equal(shown, frame)


# Each frame has its own palette and dithering, so a still background would flicker if it were drawn again.
def test_unchanged_gif_pixels_do_not_flicker(coffee: Image.Image, tmp_path: Path) -> None:
    images = moving_frames(coffee, "RGB")

    encode_frames(without_metadata(images), Encoding(GIF), Timing((40,) * 5, 0), tmp_path / "result")

    shown = read_composed(tmp_path / "result")
    for earlier, later in ((0, 1), (1, 2), (2, 3), (3, 4)):
        still = (visible_pixels(images[earlier]) == visible_pixels(images[later])).all(axis=2)
        assert 0.5 < still.mean() < 1
        np.testing.assert_array_equal(shown[earlier][still], shown[later][still])


def test_gif_without_loop_has_no_loop_extension(coffee: Image.Image, tmp_path: Path) -> None:
    encode_frames(
        without_metadata(moving_frames(coffee, "RGBA")),
        Encoding(GIF),
        Timing((40,) * 5, None),
        tmp_path / "result",
    )

    assert b"NETSCAPE" not in (tmp_path / "result").read_bytes()


def test_png_default_image_is_kept(coffee: Image.Image, tmp_path: Path) -> None:
    hidden, *images = moving_frames(coffee, "RGBA")
    timing = Timing((0, 40, 50, 60, 70), 2, hidden_first=True)

    encode_frames(without_metadata([hidden, *images]), Encoding(PNG), timing, tmp_path / "result")

    back = read_frames(tmp_path / "result", CAPS).timing
    assert back is not None
    assert back.hidden_first
    assert back.milliseconds[1:] == timing.milliseconds[1:]
    with Image.open(tmp_path / "result") as image:
        np.testing.assert_array_equal(visible_pixels(image), visible_pixels(hidden))
    for shown, image in zip(read_composed(tmp_path / "result")[1:], images, strict=True):
        np.testing.assert_array_equal(shown, visible_pixels(image))


def test_16bit_apng_keeps_its_bits(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 65_536, (20, 30, 1), dtype=np.uint16)
    moved = still.copy()
    moved[5:9, 10:12] ^= 1

    encode_frames(without_metadata([still, moved]), Encoding(PNG), Timing((40, 40), 0), tmp_path / "result")

    back = [decoded.pixels for decoded in read_frames(tmp_path / "result", CAPS).images()]
    np.testing.assert_array_equal(back, [still, moved])


def test_apng_stores_only_changed_pixels(coffee: Image.Image, tmp_path: Path) -> None:
    still, moved = moving_frames(coffee, "RGB", 2)
    sizes = []
    for images in ([still], [still, moved]):
        timing = Timing((40,) * len(images), 0)
        encode_frames(without_metadata(images), Encoding(PNG), timing, tmp_path / "result")
        sizes.append((tmp_path / "result").stat().st_size)

    assert sizes[1] < sizes[0] * 1.5


def notes(text: str) -> Metadata:
    exif = Image.Exif()
    exif[0x010E] = text
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 0.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Metadata(exif.tobytes(), f"<x>{text}</x>".encode(), profile, (300.0, 300.0))


def exif_of(metadata: Metadata) -> Image.Exif:
    exif = Image.Exif()
    exif.load(metadata.exif or b"")
    return exif


@pytest.mark.parametrize("image_format", [PNG, WEBP])
def test_animation_has_metadata_of_first_frame(
    image_format: ImageFormat, coffee: Image.Image, tmp_path: Path
) -> None:
    images = [(image, notes(f"frame {index}")) for index, image in enumerate(moving_frames(coffee, "RGB"))]

    encode_frames(iter(images), Encoding(image_format), Timing((40,) * 5, 0), tmp_path / "result")

    back = next(read_frames(tmp_path / "result", CAPS).images()).metadata
    assert exif_of(back)[0x010E] == "frame 0"
    assert exif_of(back).get_ifd(0x8825)[2] == (51.0, 28.0, 0.0)
    assert (back.xmp, back.icc_profile) == (b"<x>frame 0</x>", images[0][1].icc_profile)
    assert b"Exif\0\0" not in (tmp_path / "result").read_bytes()  # this prefix belongs only into a JPEG


def test_pages_keep_size_depth_and_metadata(coffee: Image.Image, tmp_path: Path) -> None:
    """Some pages have many strips, whose positions must move with the page."""
    gray16 = np.arange(90_000, dtype=np.uint32).reshape(300, 300).astype(np.uint16)
    images = [
        coffee,
        coffee.convert("LA").crop((0, 0, 300, 350)),
        Image.fromarray(gray16),
        coffee.convert("RGBA").crop((7, 9, 400, 300)),
    ]
    pages = [(image, notes(f"page {index}")) for index, image in enumerate(images)]

    encode_frames(iter(pages), Encoding(TIFF), None, tmp_path / "result")

    back = list(read_frames(tmp_path / "result", CAPS).images())
    for decoded, (image, carried) in zip(back, pages, strict=True):
        expected = np.asarray(image)
        np.testing.assert_array_equal(decoded.pixels, expected.reshape(decoded.pixels.shape))
        assert decoded.pixels.dtype == expected.dtype
        assert exif_of(decoded.metadata)[0x010E] == exif_of(carried)[0x010E]
        assert (decoded.metadata.xmp, decoded.metadata.dpi) == (carried.xmp, carried.dpi)
        assert decoded.metadata.icc_profile == carried.icc_profile
    assert exif_of(back[0].metadata).get_ifd(0x8825) == {1: "N", 2: (51.0, 28.0, 0.0)}
    with Image.open(tmp_path / "result") as result:
        named = [0x8825 in page.tag_v2 for page in ImageSequence.Iterator(result)]
    assert named == [True, False, False, False]  # a wrong address would be worse than none


@pytest.mark.parametrize("image_format", [GIF, PNG, WEBP, TIFF])
def test_at_most_two_frames_are_in_memory(
    image_format: ImageFormat, coffee: Image.Image, tmp_path: Path
) -> None:
    made: list[weakref.ref[Image.Image]] = []
    alive = []

    def images() -> Iterator[tuple[Image.Image, Metadata]]:
        for index in range(12):
            image = coffee.crop((index, 0, index + 40, 30))
            made.append(weakref.ref(image))
            yield image, Metadata()
            del image
            alive.append(sum(reference() is not None for reference in made))

    timing = None if image_format is TIFF else Timing((40,) * 12, 0)
    encode_frames(images(), Encoding(image_format), timing, tmp_path / "result")

    assert len(made) == 12
    assert max(alive) <= 2


@pytest.mark.parametrize("image_format", [GIF, PNG, WEBP, TIFF])
def test_failed_write_leaves_the_old_file(
    image_format: ImageFormat, coffee: Image.Image, tmp_path: Path
) -> None:
    target = tmp_path / "result"
    target.write_bytes(b"before")

    def failing() -> Iterator[tuple[Image.Image, Metadata]]:
        yield coffee.crop((0, 0, 40, 30)), Metadata()
        yield coffee.crop((9, 9, 49, 39)), Metadata()
        raise RuntimeError("the device is gone")

    timing = None if image_format is TIFF else Timing((40,) * 3, 0)
    with pytest.raises(RuntimeError, match="gone"):
        encode_frames(failing(), Encoding(image_format), timing, target)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("result", b"before")]
