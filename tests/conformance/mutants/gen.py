"""Mutants of the GEN requirements: faults on rare values, or after certain sequences of requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import bottle
from PIL import Image

from independent import codec
from independent.codec import DecodedImage
from independent.envelope import ApiError, Errors
from independent.forms import Part
from independent.records import Caller, Response, StoredImage, Success, Token
from independent.server import Server
from mutants import mutant

HUGE_PAGE = 10**12  # page numbers above this are in no list of examples
NARROW_PIXELS = 12  # pixels; the images of all other requirements are at least as wide


def is_huge_page(request: Any) -> bool:
    page = request.query.get("page", "")
    return page.isdecimal() and HUGE_PAGE < int(page) < 2**53


class HugePages(Server):
    """A server that passes lists with a huge page number through ``adjust_huge_page``."""

    def page(
        self, request: Any, path: str, found: list[Any], statuses: tuple[str, ...], data: Callable[[Any], Any]
    ) -> Success:
        success = super().page(request, path, found, statuses, data)
        return self.adjust_huge_page(success) if is_huge_page(request) else success

    def adjust_huge_page(self, success: Success) -> Success:
        return success


@mutant("huge-page-returns-500", kills=["GEN-001"])
class HugePageReturns500(HugePages):
    def adjust_huge_page(self, success: Success) -> Success:
        raise ApiError(500, "Server error")


@mutant("huge-page-returns-409", kills=["GEN-002"])
class HugePageReturns409(HugePages):
    def adjust_huge_page(self, success: Success) -> Success:
        raise ApiError(409, "There are not so many pages.")


@mutant("huge-page-number-as-string", kills=["GEN-003"])
class HugePageNumberAsString(HugePages):
    def adjust_huge_page(self, success: Success) -> Success:
        assert success.extra is not None
        success.extra["meta"]["current_page"] = "huge"
        return success


@mutant("huge-page-returns-plain-text", kills=["GEN-004"])
class HugePageReturnsPlainText(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if is_huge_page(request):
            response.body = b"nothing here"


@mutant("huge-page-without-request-id", kills=["GEN-005"])
class HugePageWithoutRequestId(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if is_huge_page(request):
            del response.headers["X-Request-Id"]


@mutant("page-above-maximum-as-first", kills=["GEN-006"])
class PageAboveMaximumAsFirst(Server):
    def parse_paging(
        self, query: list[tuple[str, str]], statuses: tuple[str, ...]
    ) -> tuple[int, int, str | None]:
        kept = [(name, "1" if name == "page" and value == str(2**53) else value) for name, value in query]
        return super().parse_paging(kept, statuses)


@mutant("rejects-narrow-images", kills=["GEN-007"])
class RejectsNarrowImages(Server):
    def decode(self, content: bytes) -> DecodedImage:
        decoded = super().decode(content)
        if decoded.size[0] < NARROW_PIXELS:
            raise codec.InvalidImage("The image is too narrow.")
        return decoded


@mutant("accepts-twelve-byte-file", kills=["GEN-008"])
class AcceptsTwelveByteFile(Server):
    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        if len(part.content) == 12:
            return DecodedImage("png", [Image.new("L", (2, 2))])
        return super().read_image(part, name, errors)


@mutant("batches-wrong-method-returns-404", kills=["GEN-009"])
class BatchesWrongMethodReturns404(Server):
    def handle_bottle_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        if error.status_code == 405 and bottle.request.path.startswith("/api/batches"):
            error.status = 404
        return super().handle_bottle_error(error)


@mutant("subscription-with-any-credentials", kills=["GEN-010"])
class SubscriptionWithAnyCredentials(Server):
    def authenticate(self, request: Any) -> Caller:
        try:
            return super().authenticate(request)
        except ApiError:
            if not request.path.endswith("/subscription"):
                raise
            token = next(iter(self.tokens_by_secret.values()))
            return Caller(token.account, token)


@mutant("narrow-images-not-deleted", kills=["GEN-011"])
class NarrowImagesNotDeleted(Server):
    def remove_image(self, image: StoredImage) -> None:
        if image.original_size[0] >= NARROW_PIXELS:
            super().remove_image(image)


@mutant("login-restores-revoked-token", kills=["GEN-101"])
class LoginRestoresRevokedToken(Server):
    last_revoked: Token | None = None

    def revoke_token(self, token: Token) -> None:
        super().revoke_token(token)
        self.last_revoked = token

    def login(self, request: Any, fields: dict[str, Any]) -> Success:
        success = super().login(request, fields)
        if self.last_revoked is not None:
            self.tokens_by_secret[self.last_revoked.secret] = self.last_revoked
        return success


@mutant("upload-restores-deleted-image", kills=["GEN-102"])
class UploadRestoresDeletedImage(Server):
    last_removed: StoredImage | None = None

    def remove_image(self, image: StoredImage) -> None:
        super().remove_image(image)
        self.last_removed = image

    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        success = super().upload_image(request, caller, parts)
        if self.last_removed is not None:
            self.images[self.last_removed.id] = self.last_removed
        return success


@mutant("third-read-reverts-image-status", kills=["GEN-102"])
class ThirdReadRevertsImageStatus(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads: Counter[int] = Counter()

    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_image(request, caller, number)
        if success.data["status"] == "completed":
            self.reads[number] += 1
            if self.reads[number] == 3:
                success.data["status"] = "processing"
        return success


@mutant("third-read-lowers-batch-count", kills=["GEN-103"])
class ThirdReadLowersBatchCount(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads: Counter[int] = Counter()

    def show_batch(self, request: Any, caller: Caller, number: int) -> Success:
        success = super().show_batch(request, caller, number)
        if success.data["status"] == "completed":
            self.reads[number] += 1
            if self.reads[number] == 3:
                success.data["completed_images"] -= 1
        return success
