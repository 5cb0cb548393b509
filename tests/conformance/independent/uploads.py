"""The upload of an image, and the validation of its form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from independent import codec
from independent.accounts import MAX_TEXT_LENGTH
from independent.images import Images
from independent.records import StoredImage, Success
from independent.worker import Worker

if TYPE_CHECKING:
    from independent.codec import DecodedImage
    from independent.envelope import Errors
    from independent.forms import Part
    from independent.records import Account, Caller, Sizing, StoredBatch

MAX_FILE_BYTES = 10 * 1024 * 1024


class Uploads(Images, Worker):
    """The operation that uploads one image, and what it shares with the upload of a batch."""

    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        """Store and queue one image. Raise ``ApiError`` with 422 for an invalid form, 403 without quota."""
        fields = {"image", "scale_factor", "target_width", "target_height"}
        errors = self.form_errors(parts, fields, file_field="image")
        sizing = self.parse_sizing(parts, errors)
        files = [part for part in parts if part.name == "image"]
        decoded = None
        if "image" not in errors and self.has_file(files, "image", errors):
            decoded = self.read_image(files[0], "image", errors)
        if decoded and not self.has_sizing_errors(errors):
            errors |= self.size_errors(decoded, sizing)
        if errors or decoded is None:
            raise self.invalid(errors)
        self.charge_quota(caller.account, 1)
        image = self.store_image(caller.account, files[0], decoded, sizing)
        return Success("Image uploaded and queued for processing", self.uploaded_data(image), 202)

    def has_file(self, files: list[Part], name: str, errors: Errors) -> bool:
        """Return True if a file was sent, otherwise add to ``errors``."""
        if not files or (not files[0].filename and not files[0].content):
            errors[name] = [f"The {name} field is required."]
        return bool(files) and name not in errors

    def form_errors(self, parts: list[Part], known: set[str], file_field: str) -> Errors:
        """Return the errors of unknown and repeated fields, of text in a file field and files in text fields."""
        errors = self.unknown_field_errors([part.name for part in parts], known)
        for name in known:
            found = [part for part in parts if part.name == name]
            shown = name.removesuffix("[]")
            if len(found) > 1 and not name.endswith("[]"):
                errors[shown] = [f"The {shown} field is repeated."]
            elif any(part.content and (part.filename is not None) != (name == file_field) for part in found):
                kind = "a file" if name == file_field else "text"
                errors[shown] = [f"The {shown} must be {kind}."]
        return errors

    def read_image(self, part: Part, name: str, errors: Errors) -> DecodedImage | None:
        """Return the decoded file, or None after adding its error to ``errors`` under ``name``."""
        if len(part.content) > self.max_file_bytes():
            errors[name] = ["The image must not be greater than 10240 kilobytes."]
            return None
        if codec.detect_format(part.content) is None:
            errors[name] = ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."]
            return None
        try:
            return self.decode(part.content)
        except codec.InvalidImage as reason:
            errors[name] = [str(reason)]
            return None

    def max_file_bytes(self) -> int:
        """Return the size limit of one file."""
        return MAX_FILE_BYTES

    def store_image(
        self,
        account: Account,
        part: Part,
        decoded: DecodedImage,
        sizing: Sizing,
        batch: StoredBatch | None = None,
    ) -> StoredImage:
        """Store an image, queue it for the worker, and return it."""
        now = self.now()
        image = StoredImage(
            self.new_id("image"), account, self.sanitize_filename(part.filename or ""), decoded.format, part.content,
            decoded.size, self.result_size(decoded.size, sizing), sizing, now, now, batch,
        )  # fmt: skip
        self.images[image.id] = image
        self.work.put(image)
        return image

    def sanitize_filename(self, filename: str) -> str:
        """Return the filename without directories and control characters, at most 255 characters long."""
        last = re.split(r"[/\\]", filename)[-1]
        kept = "".join(c for c in last if c.isprintable()).strip()[:MAX_TEXT_LENGTH]
        return kept if kept.strip(".") else "image"
