"""Servers whose links give too much, too little or something harmful."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.records import Response, StoredImage
from independent.server import Caller, Refused, Server, Success
from mutants import mutant

if TYPE_CHECKING:
    from independent.forms import Part

_LAST_OF_THREE_BYTES = 0xFFFF  # all that some databases take of UTF-8


@mutant("the-link-needs-a-token", kills=["URL-001"])
class LinkNeedsAToken(Server):
    def fetch_result(self, request: Any, number: int) -> Response:
        self.authenticate(request)
        return super().fetch_result(request, number)


@mutant("the-image-links-to-its-original", kills=["URL-001"])
class ImageLinksToItsOriginal(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        told = super().image_data(image)
        return told | {
            "download_url": told["download_url"] and f"{self.base_url}/results/{image.id}?original"
        }

    def fetch_result(self, request: Any, number: int) -> Response:
        if request.query_string == "original":
            image = self.images[number]
            return Response(200, {"Content-Type": self.file_type(image)}, image.content)
        return super().fetch_result(request, number)


@mutant("every-file-is-an-octet-stream", kills=["URL-002"])
class EveryFileIsAnOctetStream(Server):
    def file_type(self, image: StoredImage) -> str:
        return "application/octet-stream"


@mutant("files-are-sent-inline", kills=["URL-003"])
class FilesAreSentInline(Server):
    def disposition(self, filename: str) -> str:
        return super().disposition(filename).replace("attachment", "inline", 1)


@mutant("files-may-be-sniffed", kills=["URL-003"])
class FilesMayBeSniffed(Server):
    def after(self, request: Any, response: Response) -> None:
        if request.path.startswith("/api/results/"):
            del response.headers["X-Content-Type-Options"]


@mutant("signatures-are-not-checked", kills=["URL-004"])
class SignaturesAreNotChecked(Server):
    def link_is_good(self, number: int, query: dict[str, str]) -> bool:
        return set(query) == {"expires", "signature"}


@mutant("the-expiry-is-not-signed", kills=["URL-004"])
class ExpiryIsNotSigned(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(number, 0)


@mutant("the-image-is-not-signed", kills=["URL-004"])
class ImageIsNotSigned(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(0, expires)


@mutant("every-file-is-named-result", kills=["URL-005"])
class EveryFileIsNamedResult(Server):
    def result_name(self, image: StoredImage) -> str:
        return f"result.{image.format}"


@mutant("names-are-put-into-the-header-as-they-are", kills=["URL-006"])
class NamesArePutIntoTheHeaderAsTheyAre(Server):
    def disposition(self, filename: str) -> str:
        return f'attachment; filename="{filename}"'


@mutant("names-keep-their-folders", kills=["URL-006"])
class NamesKeepTheirFolders(Server):
    def clean(self, filename: str) -> str:
        return filename.replace("\r", "").replace("\n", "").replace("\0", "")


@mutant("the-extension-stays-as-it-was", kills=["URL-007"])
class ExtensionStaysAsItWas(Server):
    def result_name(self, image: StoredImage) -> str:
        return image.filename


@mutant("a-link-is-given-before-there-is-a-file", kills=["URL-008"])
class LinkIsGivenBeforeThereIsAFile(Server):
    def __init__(self, **given: Any) -> None:
        super().__init__(**{"work_seconds": 0.2, **given})

    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.owned(self.images, number, caller.account)
        data = {"download_url": self.link(image), "filename": self.result_name(image)}
        return Success("Download URL generated successfully", data)


@mutant("a-signature-is-good-for-any-image", kills=["URL-004"])
class SignatureIsGoodForAnyImage(Server):
    def signature(self, number: int, expires: int) -> str:
        return super().signature(0, expires)


@mutant("names-are-read-as-latin-1", kills=["URL-009"])
class NamesAreReadAsLatin1(Server):
    def clean(self, filename: str) -> str:
        return super().clean(filename.encode().decode("latin-1"))


@mutant("names-end-at-the-first-dot", kills=["URL-009"])
class NamesEndAtTheFirstDot(Server):
    def clean(self, filename: str) -> str:
        stem, *rest = super().clean(filename).split(".")
        return ".".join([stem, *rest[-1:]])


@mutant("names-beyond-ascii-are-refused", kills=["URL-010"])
class NamesBeyondAsciiAreRefused(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        if not all((part.filename or "").isascii() for part in parts):
            raise self.invalid({"image": ["The name of the file is not allowed."]})
        return super().upload_image(request, caller, parts)


@mutant("an-emoji-in-a-name-crashes-it", kills=["URL-010"])
class EmojiInANameCrashesIt(Server):
    def clean(self, filename: str) -> str:
        if any(ord(letter) > _LAST_OF_THREE_BYTES for letter in filename):
            raise Refused(500, "Server error")
        return super().clean(filename)


@mutant("download-names-are-encoded-twice", kills=["URL-009"])
class DownloadNamesAreEncodedTwice(Server):
    def disposition(self, filename: str) -> str:
        return super().disposition(filename.encode().decode("latin-1"))
