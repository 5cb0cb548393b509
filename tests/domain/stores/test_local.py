from __future__ import annotations

import errno
import io
import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from domain.errors import InvalidLink, NotFound, Unavailable
from domain.stores.local import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.links import LinkSigner

KEY = "originals/aB3-x.png"


def content_of(store: LocalFiles, key: str) -> bytes:
    with store.open(key) as stored:
        return stored.read()


# --- put and open


def test_object_has_the_stored_content(store: LocalFiles) -> None:
    content = os.urandom(1_000_003)
    assert store.put(KEY, io.BytesIO(content)) == len(content)
    assert content_of(store, KEY) == content


def test_empty_object_can_be_stored(store: LocalFiles) -> None:
    assert store.put(KEY, io.BytesIO()) == 0
    assert content_of(store, KEY) == b""


def test_second_put_replaces_the_object(store: LocalFiles, stored_keys: Callable[[], list[str]]) -> None:
    store.put(KEY, io.BytesIO(b"a longer first one"))
    store.put(KEY, io.BytesIO(b"second"))
    assert content_of(store, KEY) == b"second"
    assert stored_keys() == [KEY]


# A reader gets the complete old object while it is being replaced.
def test_open_object_stays_readable_after_replacement(store: LocalFiles) -> None:
    store.put(KEY, io.BytesIO(b"first"))
    with store.open(KEY) as opened:
        store.put(KEY, io.BytesIO(b"second"))
        store.delete(KEY)
        assert opened.read() == b"first"


class HalfReadable(io.BytesIO):
    """A stream that raises an error after the first megabyte."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(bytes(1 << 20))
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        if not chunk:
            raise self._error
        return chunk


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt(), ValueError("closed")])
def test_object_is_stored_completely_or_not_at_all(
    store: LocalFiles, stored_keys: Callable[[], list[str]], error: BaseException
) -> None:
    with pytest.raises(Unavailable if isinstance(error, OSError) else type(error)):
        store.put(KEY, HalfReadable(error))
    assert stored_keys() == []
    with pytest.raises(NotFound):
        store.open(KEY)


def test_failed_replacement_keeps_the_old_content(store: LocalFiles) -> None:
    store.put(KEY, io.BytesIO(b"first"))
    with pytest.raises(Unavailable):
        store.put(KEY, HalfReadable(OSError(errno.EIO, "broken")))
    assert content_of(store, KEY) == b"first"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_raises_unavailable_and_leaves_no_file(
    store: LocalFiles, stored_keys: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "replace", fail)))
        with pytest.raises(Unavailable, match="No space left"):
            store.put(KEY, io.BytesIO(b"content"))
    assert stored_keys() == []
    assert store.put(KEY, io.BytesIO(b"content")) == 7


def test_object_is_synced_before_it_is_renamed(store: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (calls.append(f"fsync of {os.fstat(file).st_size} bytes"), fsync(file))
    )
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("replace"), replace(path, to)))
    store.put(KEY, io.BytesIO(b"content"))
    assert calls == ["fsync of 7 bytes", "replace"]


# Images are private: other users of the machine must not read them.
def test_objects_are_readable_by_their_owner_only(store: LocalFiles, tmp_path: Path) -> None:
    store.put(KEY, io.BytesIO(b"content"))
    assert stat.S_IMODE((tmp_path / "files" / KEY).stat().st_mode) == 0o600


def test_missing_object_is_not_found(store: LocalFiles) -> None:
    with pytest.raises(NotFound):
        store.open(KEY)
    store.put("originals/other.png", io.BytesIO())
    with pytest.raises(NotFound):
        store.open(KEY)


# --- delete


def test_deleted_object_is_not_found(store: LocalFiles, stored_keys: Callable[[], list[str]]) -> None:
    store.put(KEY, io.BytesIO(b"content"))
    store.delete(KEY)
    assert stored_keys() == []
    with pytest.raises(NotFound):
        store.open(KEY)


def test_deleting_a_missing_object_is_no_error(
    store: LocalFiles, stored_keys: Callable[[], list[str]]
) -> None:
    store.delete(KEY)
    store.put(KEY, io.BytesIO(b"content"))
    for _ in range(2):
        store.delete(KEY)
    assert stored_keys() == []


# --- disk errors


def test_unusable_folder_raises_unavailable(tmp_path: Path, links: LinkSigner) -> None:
    (tmp_path / "files").write_bytes(b"a file where the folder should be")
    broken = LocalFiles(tmp_path / "files", links)
    with pytest.raises(Unavailable):
        broken.put(KEY, io.BytesIO(b"content"))
    with pytest.raises(Unavailable):
        broken.open(KEY)
    with pytest.raises(Unavailable):
        broken.delete(KEY)


# --- keys


@pytest.mark.parametrize(
    "key",
    [
        "",
        "photo.png",
        "../secret.key",
        "originals/../../secret.key",
        "originals/../secret.key",
        "/etc/passwd.png",
        "originals//etc.png",
        "originals/a/b.png",
        "originals/.hidden.png",
        "originals/a.png\0",
        "originals/a.png\n",
        "originals/a\\b.png",
        "originals/ä.png",
        "originals/a",
        "originals/a.",
        "./originals/a.png",
        "Originals/a.png",
        "originals/" + "٣" + ".png",
    ],
)
def test_invalid_key_reaches_no_file(
    store: LocalFiles, links: LinkSigner, clock: Any, tmp_path: Path, key: str
) -> None:
    (tmp_path / "secret.key").write_text("secret")
    with pytest.raises(AssertionError):
        store.put(key, io.BytesIO(b"content"))
    with pytest.raises(AssertionError):
        store.open(key)
    with pytest.raises(AssertionError):
        store.delete(key)
    signed = links.sign("download", {"key": key, "name": "x"}, clock.now())
    with pytest.raises(AssertionError):
        store.open_signed(signed, clock.now() - timedelta(seconds=1))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "secret.key"
    ]


# --- signed URLs


@pytest.fixture
def signed(store: LocalFiles, clock: Any) -> str:
    store.put(KEY, io.BytesIO(b"content"))
    url = store.signed_url(KEY, "Größe 🎉.png", clock.now() + timedelta(hours=1))
    assert url.startswith("/api/files/")
    return url.removeprefix("/api/files/")


def test_signed_url_reads_its_file_and_name(store: LocalFiles, signed: str, clock: Any) -> None:
    path, filename = store.open_signed(signed, clock.now())
    assert path.read_bytes() == b"content"
    assert filename == "Größe 🎉.png"


def test_expired_signed_url_is_refused(store: LocalFiles, signed: str, clock: Any) -> None:
    clock.advance(timedelta(hours=1, seconds=1))
    with pytest.raises(InvalidLink):
        store.open_signed(signed, clock.now())


def test_changed_signed_url_is_refused(store: LocalFiles, signed: str, clock: Any) -> None:
    for position, letter in enumerate(signed):
        changed = signed[:position] + ("A" if letter != "A" else "B") + signed[position + 1 :]
        with pytest.raises(InvalidLink):
            store.open_signed(changed, clock.now())


def test_verification_link_reads_no_file(store: LocalFiles, links: LinkSigner, clock: Any) -> None:
    store.put(KEY, io.BytesIO(b"content"))
    payload = {"method": "GET", "key": KEY, "name": "photo.png"}
    with pytest.raises(InvalidLink):
        store.open_signed(links.sign("verify-email", payload, clock.now() + timedelta(hours=1)), clock.now())


def test_signed_url_of_a_deleted_file_is_not_found(store: LocalFiles, signed: str, clock: Any) -> None:
    store.delete(KEY)
    with pytest.raises(NotFound):
        store.open_signed(signed, clock.now())
