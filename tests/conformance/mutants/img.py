"""Servers that hand back another picture than the larger one of what was sent."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from independent.pictures import Film, Unreadable
from independent.server import FILE_CAP, LARGEST_SIDE, Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.forms import Part
    from independent.records import Sizing, StoredImage
    from independent.server import Errors

_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_HALF = 127  # of 255


@mutant("the-factor-is-always-two", kills=["IMG-001"])
class FactorIsAlwaysTwo(Server):
    def factor(self, sizing: Sizing) -> int:
        return 2


@mutant("every-result-is-a-png", kills=["IMG-002"])
class EveryResultIsAPng(Server):
    def encode(self, film: Film) -> bytes:
        film.format = "png"
        return super().encode(film)


@mutant("files-are-served-as-bytes", kills=["IMG-003"])
class FilesAreServedAsBytes(Server):
    def file_type(self, image: StoredImage) -> str:
        return "application/octet-stream"


@mutant("every-filename-ends-in-png", kills=["IMG-003"])
class EveryFilenameEndsInPng(Server):
    def result_name(self, image: StoredImage) -> str:
        return image.filename.rpartition(".")[0] + ".png"


@mutant("results-are-blank", kills=["IMG-004"])
class ResultsAreBlank(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return Image.new("RGB", size, (128, 128, 128))


@mutant("results-are-mirrored", kills=["IMG-004"])
class ResultsAreMirrored(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return ImageOps.mirror(super().enlarge(frame, size))


@mutant("results-are-turned", kills=["IMG-004"])
class ResultsAreTurned(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return super().enlarge(frame, size).transpose(Image.Transpose.ROTATE_180)


@mutant("results-swap-red-and-blue", kills=["IMG-004"])
class ResultsSwapRedAndBlue(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        red, green, blue = super().enlarge(frame.convert("RGB"), size).split()
        return Image.merge("RGB", (blue, green, red))


@mutant("results-are-shifted", kills=["IMG-004"])
class ResultsAreShifted(Server):
    """By one pixel of the original."""

    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return ImageChops.offset(super().enlarge(frame, size), size[0] // frame.width, 0)


@mutant("results-are-cropped", kills=["IMG-004"])
class ResultsAreCropped(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        w, h = frame.size
        return super().enlarge(frame.crop((w // 10, h // 10, w - w // 10, h - h // 10)), size)


@mutant("pixels-are-repeated", kills=["IMG-005"])
class PixelsAreRepeated(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return frame.resize(size, Image.Resampling.NEAREST)


@mutant("transparency-is-dropped", kills=["IMG-006"])
class TransparencyIsDropped(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return super().enlarge(frame.convert("RGB"), size)


@mutant("transparency-is-all-or-nothing", kills=["IMG-006"])
class TransparencyIsAllOrNothing(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        larger = super().enlarge(frame, size)
        if larger.mode == "RGBA":
            larger.putalpha(larger.getchannel("A").point(lambda level: 255 if level > _HALF else 0))
        return larger


@mutant("results-are-half-transparent", kills=["IMG-007"])
class ResultsAreHalfTransparent(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        larger = super().enlarge(frame.convert("RGBA"), size)
        larger.putalpha(200)
        return larger


@mutant("gray-gets-a-tint", kills=["IMG-008"])
class GrayGetsATint(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        larger = super().enlarge(frame, size)
        return _tinted(larger) if larger.mode == "L" else larger


@mutant("palettes-are-refused", kills=["IMG-009"])
class PalettesAreRefused(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if film.format == "png" and Image.open(io.BytesIO(content)).mode == "P":
            raise Unreadable("The image has a palette.")
        return film


@mutant("sixteen-bits-are-clipped", kills=["IMG-010"])
class SixteenBitsAreClipped(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if image.mode.startswith("I"):
            film.frames = [image.convert("I").convert("L")]
        return film


@mutant("cmyk-comes-back-negative", kills=["IMG-011"])
class CmykComesBackNegative(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if Image.open(io.BytesIO(content)).mode == "CMYK":
            film.frames = [ImageOps.invert(frame.convert("RGB")) for frame in film.frames]
        return film


@mutant("the-orientation-is-ignored", kills=["IMG-012", "SIZE-019"])
class OrientationIsIgnored(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if _ORIENTATION in image.getexif():
            film.frames = [image.convert("RGB")]
        return film


@mutant("the-orientation-is-applied-and-kept", kills=["IMG-012"])
class OrientationIsAppliedAndKept(Server):
    def complete(self, image: StoredImage, film: Film, content: bytes) -> None:
        noted = Image.open(io.BytesIO(image.content)).getexif()
        if _ORIENTATION in noted:
            kept = io.BytesIO()
            Image.open(io.BytesIO(content)).save(kept, "JPEG", exif=noted)
            content = kept.getvalue()
        super().complete(image, film, content)


@mutant("only-the-first-frame", kills=["IMG-013", "IMG-014", "IMG-015"])
class OnlyTheFirstFrame(Server):
    def upscale(self, film: Film, size: tuple[int, int]) -> Film:
        film.frames = film.frames[:1]
        return super().upscale(film, size)


@mutant("frames-are-only-what-changed", kills=["IMG-013", "IMG-014"])
class FramesAreOnlyWhatChanged(Server):
    """As they lie in the file, and not as they are shown."""

    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if not film.pages:
            film.frames[1:] = map(_what_changed, film.frames, film.frames[1:])
        return film


def _what_changed(before: Image.Image, after: Image.Image) -> Image.Image:
    """On black."""
    box = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    alone = Image.new("RGB", after.size)
    if box:
        alone.paste(after.crop(box), box[:2])
    return alone


@mutant("all-pages-are-of-one-size", kills=["IMG-015"])
class AllPagesAreOfOneSize(Server):
    def upscale(self, film: Film, size: tuple[int, int]) -> Film:
        film.frames = [self.enlarge(frame, size) for frame in film.frames]
        return film


@mutant("the-name-decides", kills=["IMG-016"])
class NameDecides(Server):
    def read_picture(self, part: Part, name: str, errors: Errors) -> Film | None:
        film = super().read_picture(part, name, errors)
        extension = (part.filename or "").rpartition(".")[2].lower()
        if film and extension not in {film.format, {"jpeg": "jpg"}.get(film.format)}:
            errors[name] = ["The image is not what its name says."]
            return None
        return film


@mutant("the-filename-is-never-put-right", kills=["IMG-016"])
class FilenameIsNeverPutRight(Server):
    def result_name(self, image: StoredImage) -> str:
        return image.filename


@mutant("the-file-is-not-looked-at", kills=["IMG-017", "IMG-018"])
class FileIsNotLookedAt(Server):
    def read_picture(self, part: Part, name: str, errors: Errors) -> Film | None:
        return self.decode(part.content)

    def decode(self, content: bytes) -> Film:
        try:
            return super().decode(content)
        except Unreadable:
            return Film("png", [Image.new("RGB", (64, 48))])


@mutant("only-the-header-is-read", kills=["IMG-018"])
class OnlyTheHeaderIsRead(Server):
    def decode(self, content: bytes) -> Film:
        try:
            return super().decode(content)
        except Unreadable:
            image = Image.open(io.BytesIO(content))
            return Film(str(image.format).lower(), [Image.new("RGB", image.size)])


@mutant("no-file-is-too-large", kills=["IMG-019"])
class NoFileIsTooLarge(Server):
    def largest_file(self) -> int:
        return 2 * FILE_CAP


@mutant("ten-mebibytes-are-too-many", kills=["IMG-020"])
class TenMebibytesAreTooMany(Server):
    def largest_file(self) -> int:
        return FILE_CAP - 1


@mutant("sides-are-rounded-to-even", kills=["IMG-021"])
class SidesAreRoundedToEven(Server):
    def result_size(self, original: tuple[int, int], sizing: Sizing) -> tuple[int, int]:
        width, height = super().result_size(original, sizing)
        return width + width % 2, height + height % 2


@mutant("only-quarter-turns-are-applied", kills=["IMG-012"])
class OnlyQuarterTurnsAreApplied(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if Image.open(io.BytesIO(content)).getexif().get(0x0112) == 3:
            film.frames = [frame.rotate(180) for frame in film.frames]
        return film


class _LosingTransparency(Server):
    """Where ``loses`` says so."""

    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if self.loses(film, Image.open(io.BytesIO(content)).mode):
            film.frames = [frame.convert("RGB") for frame in film.frames]
        return film

    def loses(self, film: Film, mode: str) -> bool:
        raise NotImplementedError


@mutant("gray-loses-its-transparency", kills=["IMG-006"])
class GrayLosesItsTransparency(_LosingTransparency):
    def loses(self, film: Film, mode: str) -> bool:
        return mode == "LA"


@mutant("palettes-lose-their-transparency", kills=["IMG-006"])
class PalettesLoseTheirTransparency(_LosingTransparency):
    def loses(self, film: Film, mode: str) -> bool:
        return mode == "P" and film.format == "png"


@mutant("tiffs-lose-their-transparency", kills=["IMG-006"])
class TiffsLoseTheirTransparency(_LosingTransparency):
    def loses(self, film: Film, mode: str) -> bool:
        return film.format == "tiff"


@mutant("animations-lose-their-transparency", kills=["IMG-006"])
class AnimationsLoseTheirTransparency(_LosingTransparency):
    def loses(self, film: Film, mode: str) -> bool:
        return len(film.frames) > 1


@mutant("deep-gray-gets-a-tint", kills=["IMG-008"])
class DeepGrayGetsATint(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if Image.open(io.BytesIO(content)).mode.startswith("I"):
            film.frames = [_tinted(frame) for frame in film.frames]
        return film


@mutant("gray-with-transparency-gets-a-tint", kills=["IMG-008"])
class GrayWithTransparencyGetsATint(Server):
    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        larger = super().enlarge(frame, size)
        if larger.mode != "LA":
            return larger
        light, alpha = larger.split()
        larger = _tinted(light)
        larger.putalpha(alpha)
        return larger


def _tinted(gray: Image.Image) -> Image.Image:
    return Image.merge("RGB", (gray.point(lambda level: level * 9 // 10), gray, gray))


@mutant("one-bit-is-refused", kills=["IMG-022"])
class OneBitIsRefused(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if Image.open(io.BytesIO(content)).mode == "1":
            raise Unreadable("The image has too few colours.")
        return film


@mutant("faxes-come-back-negative", kills=["IMG-022"])
class FaxesComeBackNegative(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
            film.frames = [ImageOps.invert(frame) for frame in film.frames]
        return film


@mutant("eight-is-taken-for-six", kills=["IMG-012"])
class EightIsTakenForSix(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        if Image.open(io.BytesIO(content)).getexif().get(_ORIENTATION) == 8:
            film.frames = [frame.transpose(Image.Transpose.ROTATE_180) for frame in film.frames]
        return film


@mutant("only-jpegs-are-turned", kills=["IMG-023"])
class OnlyJpegsAreTurned(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if film.format != "jpeg" and _ORIENTATION in image.getexif():
            film.frames = [image.convert("RGB")]
        return film


@mutant("only-the-first-frame-is-read", kills=["IMG-018"])
class OnlyTheFirstFrameIsRead(Server):
    """What comes behind it is taken as far as it goes."""

    def decode(self, content: bytes) -> Film:
        try:
            return super().decode(content)
        except Unreadable:
            with suppress(Exception):  # not even the first one can be read
                image = Image.open(io.BytesIO(content))
                return Film(str(image.format).lower(), [image.convert("RGB")])
            raise


@mutant("vast-pictures-are-taken", kills=["IMG-024"])
class VastPicturesAreTaken(Server):
    def read_picture(self, part: Part, name: str, errors: Errors) -> Film | None:
        if _is_vast(part.content):
            return Film("png", [Image.new("L", (64, 48))])
        return super().read_picture(part, name, errors)


@mutant("vast-pictures-fill-the-memory", kills=["IMG-024"])
class VastPicturesFillTheMemory(Server):
    def read_picture(self, part: Part, name: str, errors: Errors) -> Film | None:
        if _is_vast(part.content):
            raise MemoryError
        return super().read_picture(part, name, errors)


def _is_vast(content: bytes) -> bool:
    """A PNG that is over 16,384 pixels wide."""
    return content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") > LARGEST_SIDE


@mutant("profiles-are-dropped", kills=["IMG-025"])
class ProfilesAreDropped(Server):
    def decode(self, content: bytes) -> Film:
        film = super().decode(content)
        film.profile = None
        return film
