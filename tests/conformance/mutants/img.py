"""Mutants of the IMG requirements: the content, format and validation of images."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from independent.codec import DecodedImage, InvalidImage
from independent.server import Server
from independent.sizing import MAX_SIDE_PIXELS
from independent.uploads import MAX_FILE_BYTES
from mutants import mutant

if TYPE_CHECKING:
    from independent.envelope import Errors
    from independent.forms import Part
    from independent.records import Sizing, StoredImage

_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_HALF_OPAQUE = 127  # of 255


@mutant("scale-factor-always-two", kills=["IMG-001"])
class ScaleFactorAlwaysTwo(Server):
    def scale_factor(self, sizing: Sizing) -> int:
        return 2


@mutant("result-always-png", kills=["IMG-002"])
class ResultAlwaysPng(Server):
    def encode(self, decoded: DecodedImage) -> bytes:
        decoded.format = "png"
        return super().encode(decoded)


@mutant("result-type-octet-stream", kills=["IMG-003"])
class ResultTypeOctetStream(Server):
    def result_media_type(self, image: StoredImage) -> str:
        return "application/octet-stream"


@mutant("result-filename-always-png", kills=["IMG-003"])
class ResultFilenameAlwaysPng(Server):
    def result_filename(self, image: StoredImage) -> str:
        return image.filename.rpartition(".")[0] + ".png"


@mutant("result-blank", kills=["IMG-004"])
class ResultBlank(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return Image.new("RGB", size, (128, 128, 128))


@mutant("result-mirrored", kills=["IMG-004"])
class ResultMirrored(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return ImageOps.mirror(super().resize_frame(frame, size))


@mutant("result-rotated-180", kills=["IMG-004"])
class ResultRotated180(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return super().resize_frame(frame, size).transpose(Image.Transpose.ROTATE_180)


@mutant("result-swaps-red-and-blue", kills=["IMG-004"])
class ResultSwapsRedAndBlue(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        red, green, blue = super().resize_frame(frame.convert("RGB"), size).split()
        return Image.merge("RGB", (blue, green, red))


@mutant("result-shifted", kills=["IMG-004"])
class ResultShifted(Server):
    """The result is shifted by one pixel of the original."""

    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return ImageChops.offset(super().resize_frame(frame, size), size[0] // frame.width, 0)


@mutant("result-cropped", kills=["IMG-004"])
class ResultCropped(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        w, h = frame.size
        return super().resize_frame(frame.crop((w // 10, h // 10, w - w // 10, h - h // 10)), size)


@mutant("nearest-neighbour-scaling", kills=["IMG-005"])
class NearestNeighbourScaling(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return frame.resize(size, Image.Resampling.NEAREST)


@mutant("alpha-dropped", kills=["IMG-006"])
class AlphaDropped(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return super().resize_frame(frame.convert("RGB"), size)


@mutant("alpha-thresholded", kills=["IMG-006"])
class AlphaThresholded(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        result = super().resize_frame(frame, size)
        if result.mode == "RGBA":
            result.putalpha(result.getchannel("A").point(lambda level: 255 if level > _HALF_OPAQUE else 0))
        return result


@mutant("opaque-image-gains-alpha", kills=["IMG-007"])
class OpaqueImageGainsAlpha(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        result = super().resize_frame(frame.convert("RGBA"), size)
        result.putalpha(200)
        return result


@mutant("gray-tinted", kills=["IMG-008"])
class GrayTinted(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        result = super().resize_frame(frame, size)
        return _tinted(result) if result.mode == "L" else result


@mutant("rejects-palette-png", kills=["IMG-009"])
class RejectsPalettePng(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if decoded.format == "png" and Image.open(io.BytesIO(content)).mode == "P":
            raise InvalidImage("The image has a palette.")
        return decoded


@mutant("gray16-clipped-to-8-bits", kills=["IMG-010"])
class Gray16ClippedTo8Bits(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if image.mode.startswith("I"):
            decoded.frames = [image.convert("I").convert("L")]
        return decoded


@mutant("cmyk-inverted", kills=["IMG-011"])
class CmykInverted(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if Image.open(io.BytesIO(content)).mode == "CMYK":
            decoded.frames = [ImageOps.invert(frame.convert("RGB")) for frame in decoded.frames]
        return decoded


@mutant("orientation-ignored", kills=["IMG-012", "SIZE-019"])
class OrientationIgnored(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if _ORIENTATION in image.getexif():
            decoded.frames = [image.convert("RGB")]
        return decoded


@mutant("orientation-tag-kept-after-rotation", kills=["IMG-012"])
class OrientationTagKeptAfterRotation(Server):
    def complete_image(self, image: StoredImage, decoded: DecodedImage, content: bytes) -> None:
        exif = Image.open(io.BytesIO(image.content)).getexif()
        if _ORIENTATION in exif:
            kept = io.BytesIO()
            Image.open(io.BytesIO(content)).save(kept, "JPEG", exif=exif)
            content = kept.getvalue()
        super().complete_image(image, decoded, content)


@mutant("upscales-first-frame-only", kills=["IMG-013", "IMG-014", "IMG-015"])
class UpscalesFirstFrameOnly(Server):
    def upscale_frames(self, decoded: DecodedImage, size: tuple[int, int]) -> DecodedImage:
        decoded.frames = decoded.frames[:1]
        return super().upscale_frames(decoded, size)


@mutant("frames-not-composited", kills=["IMG-013", "IMG-014"])
class FramesNotComposited(Server):
    """Frames contain the changes stored in the file, not the composited image."""

    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if not decoded.has_pages:
            decoded.frames[1:] = map(_changed_rectangle, decoded.frames, decoded.frames[1:])
        return decoded


def _changed_rectangle(before: Image.Image, after: Image.Image) -> Image.Image:
    """Return the changed rectangle of a frame on black."""
    box = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    changed = Image.new("RGB", after.size)
    if box:
        changed.paste(after.crop(box), box[:2])
    return changed


@mutant("pages-scaled-to-one-size", kills=["IMG-015"])
class PagesScaledToOneSize(Server):
    def upscale_frames(self, decoded: DecodedImage, size: tuple[int, int]) -> DecodedImage:
        decoded.frames = [self.resize_frame(frame, size) for frame in decoded.frames]
        return decoded


@mutant("trusts-filename-extension", kills=["IMG-016"])
class TrustsFilenameExtension(Server):
    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        decoded = super().read_image(part, name, errors)
        extension = (part.filename or "").rpartition(".")[2].lower()
        if decoded and extension not in {decoded.format, {"jpeg": "jpg"}.get(decoded.format)}:
            errors[name] = ["The image does not match its filename extension."]
            return None
        return decoded


@mutant("filename-extension-not-corrected", kills=["IMG-016"])
class FilenameExtensionNotCorrected(Server):
    def result_filename(self, image: StoredImage) -> str:
        return image.filename


@mutant("image-content-not-validated", kills=["IMG-017", "IMG-018"])
class ImageContentNotValidated(Server):
    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        return self.decode(part.content)

    def decode(self, content: bytes) -> DecodedImage:
        try:
            return super().decode(content)
        except InvalidImage:
            return DecodedImage("png", [Image.new("RGB", (64, 48))])


@mutant("validates-image-header-only", kills=["IMG-018"])
class ValidatesImageHeaderOnly(Server):
    def decode(self, content: bytes) -> DecodedImage:
        try:
            return super().decode(content)
        except InvalidImage:
            image = Image.open(io.BytesIO(content))
            return DecodedImage(str(image.format).lower(), [Image.new("RGB", image.size)])


@mutant("accepts-too-large-file", kills=["IMG-019"])
class AcceptsTooLargeFile(Server):
    def max_file_bytes(self) -> int:
        return 2 * MAX_FILE_BYTES


@mutant("rejects-file-of-10-mib", kills=["IMG-020"])
class RejectsFileOf10Mib(Server):
    def max_file_bytes(self) -> int:
        return MAX_FILE_BYTES - 1


@mutant("result-sides-rounded-to-even", kills=["IMG-021"])
class ResultSidesRoundedToEven(Server):
    def result_size(self, original: tuple[int, int], sizing: Sizing) -> tuple[int, int]:
        width, height = super().result_size(original, sizing)
        return width + width % 2, height + height % 2


@mutant("orientation-3-not-applied", kills=["IMG-012"])
class Orientation3NotApplied(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if Image.open(io.BytesIO(content)).getexif().get(_ORIENTATION) == 3:
            decoded.frames = [frame.rotate(180) for frame in decoded.frames]
        return decoded


class _LosingTransparency(Server):
    """A server that drops the alpha channel of the images that ``loses_alpha`` selects."""

    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if self.loses_alpha(decoded, Image.open(io.BytesIO(content)).mode):
            decoded.frames = [frame.convert("RGB") for frame in decoded.frames]
        return decoded

    def loses_alpha(self, decoded: DecodedImage, mode: str) -> bool:
        raise NotImplementedError


@mutant("gray-loses-alpha", kills=["IMG-006"])
class GrayLosesAlpha(_LosingTransparency):
    def loses_alpha(self, decoded: DecodedImage, mode: str) -> bool:
        return mode == "LA"


@mutant("palette-loses-alpha", kills=["IMG-006"])
class PaletteLosesAlpha(_LosingTransparency):
    def loses_alpha(self, decoded: DecodedImage, mode: str) -> bool:
        return mode == "P" and decoded.format == "png"


@mutant("tiff-loses-alpha", kills=["IMG-006"])
class TiffLosesAlpha(_LosingTransparency):
    def loses_alpha(self, decoded: DecodedImage, mode: str) -> bool:
        return decoded.format == "tiff"


@mutant("animation-loses-alpha", kills=["IMG-006"])
class AnimationLosesAlpha(_LosingTransparency):
    def loses_alpha(self, decoded: DecodedImage, mode: str) -> bool:
        return len(decoded.frames) > 1


@mutant("gray16-tinted", kills=["IMG-008"])
class Gray16Tinted(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if Image.open(io.BytesIO(content)).mode.startswith("I"):
            decoded.frames = [_tinted(frame) for frame in decoded.frames]
        return decoded


@mutant("gray-alpha-tinted", kills=["IMG-008"])
class GrayAlphaTinted(Server):
    def resize_frame(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        result = super().resize_frame(frame, size)
        if result.mode != "LA":
            return result
        light, alpha = result.split()
        result = _tinted(light)
        result.putalpha(alpha)
        return result


def _tinted(gray: Image.Image) -> Image.Image:
    return Image.merge("RGB", (gray.point(lambda level: level * 9 // 10), gray, gray))


@mutant("rejects-one-bit-image", kills=["IMG-022"])
class RejectsOneBitImage(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if Image.open(io.BytesIO(content)).mode == "1":
            raise InvalidImage("The image has too few colours.")
        return decoded


@mutant("white-is-zero-tiff-inverted", kills=["IMG-022"])
class WhiteIsZeroTiffInverted(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
            decoded.frames = [ImageOps.invert(frame) for frame in decoded.frames]
        return decoded


@mutant("orientation-8-applied-as-6", kills=["IMG-012"])
class Orientation8AppliedAs6(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if Image.open(io.BytesIO(content)).getexif().get(_ORIENTATION) == 8:
            decoded.frames = [frame.transpose(Image.Transpose.ROTATE_180) for frame in decoded.frames]
        return decoded


@mutant("orientation-applied-to-jpeg-only", kills=["IMG-023"])
class OrientationAppliedToJpegOnly(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        image = Image.open(io.BytesIO(content))
        if decoded.format != "jpeg" and _ORIENTATION in image.getexif():
            decoded.frames = [image.convert("RGB")]
        return decoded


@mutant("damage-after-first-frame-ignored", kills=["IMG-018"])
class DamageAfterFirstFrameIgnored(Server):
    """Damage after the first frame is ignored."""

    def decode(self, content: bytes) -> DecodedImage:
        try:
            return super().decode(content)
        except InvalidImage:
            with suppress(Exception):  # the first frame is damaged too
                image = Image.open(io.BytesIO(content))
                return DecodedImage(str(image.format).lower(), [image.convert("RGB")])
            raise


@mutant("accepts-decompression-bomb", kills=["IMG-024"])
class AcceptsDecompressionBomb(Server):
    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        if _is_too_wide(part.content):
            return DecodedImage("png", [Image.new("L", (64, 48))])
        return super().read_image(part, name, errors)


@mutant("decompression-bomb-exhausts-memory", kills=["IMG-024"])
class DecompressionBombExhaustsMemory(Server):
    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        if _is_too_wide(part.content):
            raise MemoryError
        return super().read_image(part, name, errors)


def _is_too_wide(content: bytes) -> bool:
    """Return True for a PNG wider than 16,384 pixels."""
    return content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") > MAX_SIDE_PIXELS


@mutant("icc-profile-dropped", kills=["IMG-025"])
class IccProfileDropped(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        decoded.icc_profile = None
        return decoded
