"""Strict parser for multipart forms, with limits on files and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from werkzeug.http import parse_options_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import FormData

MAX_FILES = 1000
"""Files in one form. Files beyond ``_MAX_KEPT_FILES`` are only counted, so that the error names their field."""
_MAX_KEPT_FILES = 32
"""Files of one form that are stored: more than any operation accepts, few enough to keep open."""
_MAX_TEXT_BYTES = 64 * 1024
"""All text fields of one form together, which are kept in memory: the limit of a JSON body."""


def _check_utf8(text: bytearray) -> None:
    """Raise MultiPartException if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as reason:
        raise MultiPartException("A field is not in UTF-8.") from reason


class StrictMultipartParser(MultiPartParser):
    """Starlette's parser, but text must be UTF-8, and a form without its end is cut off and rejected.

    ``is_file`` says of a field's name whether its parts are files; of other fields, those with a file name are files.
    """

    # A file part stays in memory up to this size while its request arrives. With Starlette's megabyte and
    # its thousand parts, a few slow clients would hold gigabytes.
    spool_max_size = 64 * 1024

    _text_bytes = 0
    _ended = False

    def __init__(self, *args: Any, is_file: Callable[[str], bool], **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_file = is_file

    @property
    def _charset(self) -> str:
        """Return ``utf-8``, whatever the client states."""
        # Not the client's choice (RFC 7578, 4.6): some of Python's codecs crash, or produce text that JSON
        # cannot hold.
        return "utf-8"

    @_charset.setter
    def _charset(self, _from_client: str) -> None:
        pass

    def on_headers_finished(self) -> None:
        """Begin a part; a file after the first ``_MAX_KEPT_FILES`` is counted and not stored.

        The name of a file can be in ``filename*`` or missing; a missing name is empty.
        """
        disposition = self._current_part.content_disposition or b""
        _, options = parse_options_header(disposition.decode("utf-8", "replace"))
        # RFC 7578, 4.2, only recommends a file name: form-data for Node.js, httpx and Bun send files without one.
        # Starlette takes a part without it for text, which must be UTF-8 and small.
        renamed = b"filename=" not in disposition and self._is_file(options.get("name", ""))
        if renamed:
            self._current_part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()
        file = self._current_part.file
        if file is not None and renamed:
            file.filename = options.get("filename", "")
        if file is not None and self._current_files > _MAX_KEPT_FILES:
            self._current_part.file = _DiscardedFile(file.file, size=0, filename=file.filename)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Store data of a part.

        Raise MultiPartException for more than ``_MAX_TEXT_BYTES`` in all text fields together.
        """
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > _MAX_TEXT_BYTES:
                raise MultiPartException("The text fields of the form are too large.")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        """End a part. Raise MultiPartException for a text that is not UTF-8."""
        if self._current_part.file is None:
            _check_utf8(self._current_part.data)
        super().on_part_end()

    def on_end(self) -> None:
        """Remember that the closing boundary has arrived."""
        self._ended = True

    async def parse(self) -> FormData:
        """Return the form; of files after the first ``_MAX_KEPT_FILES``, only the size is known.

        Raise MultiPartException for a form that is malformed, incomplete or over a limit (number of parts, size of text),
        and for text that is not UTF-8.
        """
        form = await super().parse()
        if not self._ended:
            await form.close()
            raise MultiPartException("The form has no end.")
        return form


class _DiscardedFile(UploadFile):
    """A file whose bytes are counted and not stored."""

    async def write(self, data: bytes) -> None:
        """Count the bytes and drop them."""
        self.size = (self.size or 0) + len(data)
