"""Mutants of the URL requirements: links to results and filenames of downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.envelope import ApiError
from independent.records import Caller, Response, StoredImage, Success
from independent.server import Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.forms import Part

_MAX_THREE_BYTE_CODE_POINT = 0xFFFF  # some databases store at most three bytes of UTF-8


@mutant("result-link-requires-token", kills=["URL-001"])
class ResultLinkRequiresToken(Server):
    def fetch_result(self, request: Any, number: int) -> Response:
        self.authenticate(request)
        return super().fetch_result(request, number)


@mutant("download-url-serves-original", kills=["URL-001"])
class DownloadUrlServesOriginal(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().image_data(image)
        return data | {
            "download_url": data["download_url"] and f"{self.base_url}/results/{image.id}?original"
        }

    def fetch_result(self, request: Any, number: int) -> Response:
        if request.query_string == "original":
            image = self.images[number]
            return Response(200, {"Content-Type": self.result_media_type(image)}, image.content)
        return super().fetch_result(request, number)


@mutant("link-type-octet-stream", kills=["URL-002"])
class LinkTypeOctetStream(Server):
    def result_media_type(self, image: StoredImage) -> str:
        return "application/octet-stream"


@mutant("result-disposition-inline", kills=["URL-003"])
class ResultDispositionInline(Server):
    def disposition(self, filename: str) -> str:
        return super().disposition(filename).replace("attachment", "inline", 1)


@mutant("result-without-nosniff", kills=["URL-003"])
class ResultWithoutNosniff(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if request.path.startswith("/api/results/"):
            del response.headers["X-Content-Type-Options"]


@mutant("signature-not-verified", kills=["URL-004"])
class SignatureNotVerified(Server):
    def is_valid_link(self, number: int, query: dict[str, str]) -> bool:
        return set(query) == {"expires", "signature"}


@mutant("signature-omits-expiry", kills=["URL-004"])
class SignatureOmitsExpiry(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(number, 0)


@mutant("signature-omits-image-id", kills=["URL-004"])
class SignatureOmitsImageId(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(0, expires)


@mutant("result-filename-always-result", kills=["URL-005"])
class ResultFilenameAlwaysResult(Server):
    def result_filename(self, image: StoredImage) -> str:
        return f"result.{image.format}"


@mutant("disposition-filename-not-escaped", kills=["URL-006"])
class DispositionFilenameNotEscaped(Server):
    def disposition(self, filename: str) -> str:
        return f'attachment; filename="{filename}"'


@mutant("filename-keeps-directories", kills=["URL-006"])
class FilenameKeepsDirectories(Server):
    def sanitize_filename(self, filename: str) -> str:
        return filename.replace("\r", "").replace("\n", "").replace("\0", "")


@mutant("download-extension-not-corrected", kills=["URL-007"])
class DownloadExtensionNotCorrected(Server):
    def result_filename(self, image: StoredImage) -> str:
        return image.filename


@mutant("link-before-result-exists", kills=["URL-008"])
class LinkBeforeResultExists(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.2, **options})

    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.find_owned(self.images, number, caller.account)
        data = {"download_url": self.link(image), "filename": self.result_filename(image)}
        return Success("Download URL generated successfully", data)


@mutant("signature-valid-for-any-image", kills=["URL-004"])
class SignatureValidForAnyImage(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(0, expires)


@mutant("filename-decoded-as-latin-1", kills=["URL-009"])
class FilenameDecodedAsLatin1(Server):
    def sanitize_filename(self, filename: str) -> str:
        return super().sanitize_filename(filename.encode().decode("latin-1"))


@mutant("filename-cut-at-first-dot", kills=["URL-009"])
class FilenameCutAtFirstDot(Server):
    def sanitize_filename(self, filename: str) -> str:
        stem, *rest = super().sanitize_filename(filename).split(".")
        return ".".join([stem, *rest[-1:]])


@mutant("rejects-non-ascii-filename", kills=["URL-010"])
class RejectsNonAsciiFilename(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        if not all((part.filename or "").isascii() for part in parts):
            raise self.invalid({"image": ["The name of the file is not allowed."]})
        return super().upload_image(request, caller, parts)


@mutant("emoji-in-filename-returns-500", kills=["URL-010"])
class EmojiInFilenameReturns500(Server):
    def sanitize_filename(self, filename: str) -> str:
        if any(ord(letter) > _MAX_THREE_BYTE_CODE_POINT for letter in filename):
            raise ApiError(500, "Server error")
        return super().sanitize_filename(filename)


@mutant("disposition-filename-double-encoded", kills=["URL-009"])
class DispositionFilenameDoubleEncoded(Server):
    def disposition(self, filename: str) -> str:
        return super().disposition(filename.encode().decode("latin-1"))
