"""The object store that keeps files in one folder; the API serves them through signed URLs."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from domain.errors import NotFound, Unavailable
from domain.ports import SignedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from domain.links import LinkSigner

_KEY = re.compile(r"[a-z]+/[A-Za-z0-9-]+\.[a-z]+", re.ASCII)
_PURPOSE = "download"


class LocalFiles:
    """An ObjectStore in a folder; a key is a path such as ``originals/….jpg``, never a client's input."""

    def __init__(self, folder: Path, links: LinkSigner) -> None:
        self._folder = folder
        self._links = links

    def put(self, key: str, content: BinaryIO) -> int:
        """Store the stream and return its size in bytes; a file with this key is replaced. Raise Unavailable.

        The file appears under its key only when its content is on the disk. An error leaves no partial file.
        """
        path = self._path(key)
        with _unavailable_when_broken():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=".", suffix=".part", delete=False
            ) as file:
                try:
                    shutil.copyfileobj(content, file)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
                return file.tell()

    def open(self, key: str) -> BinaryIO:
        """Open the file for reading; the caller closes it. Raise NotFound and Unavailable."""
        with _unavailable_when_broken():
            try:
                return self._path(key).open("rb")
            except FileNotFoundError:
                raise NotFound from None

    def delete(self, key: str) -> None:
        """Delete the file, if it exists. Raise Unavailable if the disk fails."""
        with _unavailable_when_broken():
            self._path(key).unlink(missing_ok=True)

    def signed_url(self, key: str, filename: str, expires_at: datetime) -> str:
        """Return a path on this server with a signed link that is valid until ``expires_at``.

        The file need not exist.
        """
        # The signature covers the method, so that a link to read a file permits nothing else.
        signed = self._links.sign(_PURPOSE, {"method": "GET", "key": key, "name": filename}, expires_at)
        return f"/api/files/{signed}"

    def open_signed(self, signed: str, now: datetime) -> SignedFile:
        """Return the file that the last part of a signed URL names. Raise InvalidLink and NotFound."""
        payload = self._links.read(_PURPOSE, signed, now)
        path = self._path(payload["key"])
        if not path.exists():
            raise NotFound
        return SignedFile(path, payload["name"])

    def _path(self, key: str) -> Path:
        """Return the file's path. A malformed key is a programming error: raise AssertionError."""
        assert _KEY.fullmatch(key), key
        return self._folder / key


@contextmanager
def _unavailable_when_broken() -> Iterator[None]:
    """Raise Unavailable for errors of the file system, such as a full or missing disk; other errors pass."""
    try:
        yield
    except OSError as reason:
        raise Unavailable(f"The object store failed: {reason}") from reason
