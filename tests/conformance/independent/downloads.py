"""Signed links to results, and the files behind them."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from independent.access import Access
from independent.envelope import ApiError
from independent.records import Response, Success

if TYPE_CHECKING:
    from independent.records import Caller, StoredImage

EXTENSIONS = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",), "webp": (".webp",),
    "bmp": (".bmp", ".dib"), "tiff": (".tiff", ".tif"), "gif": (".gif",),
}  # fmt: skip


class Downloads(Access):
    """The operations that give access to results."""

    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        """Show the link and the filename of a result. Raise ``ApiError`` with 400 if it is not completed."""
        image = self.find_owned(self.images, number, caller.account)
        if image.status != "completed":
            raise ApiError(400, f"The image is {image.status}.")
        data = {"download_url": self.link(image), "filename": self.result_filename(image)}
        return Success("Download URL generated successfully", data)

    def result_filename(self, image: StoredImage) -> str:
        """Return the name of the upload, with an extension that matches the format."""
        stem, dot, extension = image.filename.rpartition(".")
        matching = EXTENSIONS[image.format]
        if dot and stem and f".{extension.lower()}" in matching:
            return image.filename
        return (stem if dot and stem else image.filename) + matching[0]

    def link(self, image: StoredImage) -> str:
        """Return a signed URL of the result that expires."""
        expires = int((self.now() + timedelta(seconds=self.link_seconds)).timestamp())
        query = {"expires": str(expires), "signature": self.signature(image.id, expires)}
        return f"{self.base_url}/results/{image.id}?{urlencode(query)}"

    def signature(self, number: int, expires: int) -> str:
        """Return the signature of an image id and a time in seconds since 1970."""
        return hmac.new(self.secret, f"{number}:{expires}".encode(), hashlib.sha256).hexdigest()

    def fetch_result(self, request: Any, number: int) -> Response:
        """Return the file behind a link. Raise ``ApiError`` with 403 for an invalid link, 404 without a result."""
        query = dict(parse_qsl(request.query_string, keep_blank_values=True))
        if not self.is_valid_link(number, query):
            raise ApiError(403, "The link was changed or has expired.")
        image = self.images.get(number)
        if image is None or image.status != "completed":
            raise self.not_found()
        return self.file_response(image)

    def is_valid_link(self, number: int, query: dict[str, str]) -> bool:
        """Return True if the signature is correct and the link has not expired."""
        if set(query) != {"expires", "signature"} or not query["expires"].isdecimal():
            return False
        expires = int(query["expires"])
        expected = self.signature(number, expires).encode()
        return hmac.compare_digest(expected, query["signature"].encode()) and not self.has_expired(expires)

    def has_expired(self, expires: int) -> bool:
        """Return True if the time, in seconds since 1970, has passed."""
        return expires <= self.now().timestamp()

    def file_response(self, image: StoredImage) -> Response:
        """Return the response with the result's file."""
        headers = {
            "Content-Type": self.result_media_type(image),
            "Content-Disposition": self.disposition(self.result_filename(image)),
        }
        return Response(200, headers, image.result)

    def result_media_type(self, image: StoredImage) -> str:
        """Return the media type of the result's file."""
        return f"image/{image.format}"

    def disposition(self, filename: str) -> str:
        """Return ``Content-Disposition`` with both forms of the filename (RFC 6266, appendix D)."""
        plain = re.sub(r'[^ -~]|["\\%;]', "_", filename)
        return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
