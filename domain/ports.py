"""What the rules need from outside. The implementations live where their library belongs and are
handed over in ``uprez/wiring.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from domain.formats import ImageFormat
    from domain.sizing import Size


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, with its time zone."""


class RandomSource(Protocol):
    def token(self, count: int) -> str:
        """Unguessable ASCII letters and digits."""


class Queue(Protocol):
    def notify(self, image_id: int) -> bool:
        """Tells a worker to look at the row; False if that could not be said (the row waits, a
        reconciler says it again). Never raises: the row is the truth, this is only a wake-up.
        """


class SignedFile(NamedTuple):
    path: Path
    filename: str


class ObjectStore(Protocol):
    """Raises Unavailable from every method when the store cannot be reached or is full."""

    def put(self, key: str, content: BinaryIO) -> int:
        """Stores the whole stream or nothing; bytes written."""

    def open(self, key: str) -> BinaryIO:
        """Raises NotFound."""

    def delete(self, key: str) -> None:
        """Deleting what is not there is no error."""

    def signed_url(self, key: str, filename: str, expires_at: datetime) -> str:
        """A URL that downloads the object under that name until then; relative to our own origin if
        we serve it ourselves.
        """

    def open_signed(self, signed: str, now: datetime) -> SignedFile:
        """Return the file that the last part of one of our own signed URLs names.

        Raises LinkRefused for a link that was changed or has expired, and always from a store whose URLs lead to
        another server; NotFound for a file that is gone.
        """


class Window(NamedTuple):
    """A bucket after a look at it; ``exceeded`` says that the hit which was just counted was one too many."""

    limit: int
    remaining: int
    resets_in_seconds: int
    exceeded: bool


class RequestCounter(Protocol):
    """Counts in windows of so many seconds that begin with their first hit, across all processes.

    None when the counters are out of reach: no reason to refuse anybody. Never raises.
    """

    def hit(self, key: str, limit: int, seconds: int) -> Window | None: ...

    def look(self, key: str, limit: int, seconds: int) -> Window | None: ...

    def hit_locally(self, key: str, limit: int, seconds: int) -> Window:
        """Counts in this process alone: for what stays bounded when the counters are out of reach."""


class Mail(NamedTuple):
    to: str
    subject: str
    text: str


class Mailer(Protocol):
    def send(self, mail: Mail) -> None:
        """Raises Unavailable when the mail cannot leave."""


class BackgroundRunner(Protocol):
    def __call__(self, work: Callable[[], None], /) -> None:
        """Does the work when nobody waits for it, or drops it with a log line. Never raises."""


class ImageFacts(NamedTuple):
    image_format: ImageFormat
    size: Size
    further: tuple[Size, ...] = ()
    """Of the frames or pages behind the first, at most one more than the format's ``max_frames`` allows."""


class Probe(Protocol):
    def __call__(self, content: BinaryIO, /) -> ImageFacts:
        """Format and displayed sizes, from the header; the stream stands at its start before and after.

        Raises PictureError when this is none of our formats, or visibly incomplete.
        """
