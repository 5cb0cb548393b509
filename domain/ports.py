"""The ports: interfaces to the outside that the domain needs; ``uprez/wiring.py`` chooses their implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from domain.formats import ImageFormat
    from domain.sizing import Size


class Clock(Protocol):
    """The source of the current time: ``uprez/adapters/system.py``."""

    def now(self) -> datetime:
        """Return the current time in UTC, with its time zone."""


class RandomSource(Protocol):
    """The source of unguessable tokens: ``uprez/adapters/system.py``."""

    def token(self, count: int) -> str:
        """Return ``count`` random ASCII letters and digits."""


class Queue(Protocol):
    """The queue between the API and the workers: ``workers/broker.py``."""

    def notify(self, image_id: int) -> bool:
        """Send a worker the message to process the image, and return whether it was sent. Never raise.

        The image's row decides what is to be done; a lost message is repeated by the reconciler.
        """


class SignedFile(NamedTuple):
    """A stored file, and the name under which the client saves it."""

    path: Path
    filename: str


class ObjectStore(Protocol):
    """The store of originals and results: ``domain/stores``.

    Every method raises Unavailable if it cannot be reached or is full.
    """

    def put(self, key: str, content: BinaryIO) -> int:
        """Store the stream completely or not at all, and return its size in bytes."""

    def open(self, key: str) -> BinaryIO:
        """Open the object for reading. Raise NotFound."""

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""

    def signed_url(self, key: str, filename: str, expires_at: datetime) -> str:
        """Return a URL that downloads the object as ``filename`` until ``expires_at``.

        The URL is relative to the API's origin if the API serves it.
        """

    def open_signed(self, signed: str, now: datetime) -> SignedFile:
        """Return the file of a signed URL of the API; ``signed`` is the last part of the URL.

        Raise InvalidLink if the link was changed or has expired, and always if this store's URLs lead to
        another server. Raise NotFound if the file does not exist.
        """


class Window(NamedTuple):
    """The state of one bucket; ``exceeded`` is whether the hit that was just counted is over the limit."""

    limit: int
    remaining: int
    resets_in_seconds: int
    exceeded: bool


class RequestCounter(Protocol):
    """Counters that all processes share (``uprez/adapters/request_counter.py``), in windows of ``seconds``
    that begin with their first hit. Never raises.
    """

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        """Count one hit and return the window, or None if the counters are unavailable."""

    def peek(self, key: str, limit: int, seconds: int) -> Window | None:
        """Return the window without counting, or None if the counters are unavailable."""

    def hit_locally(self, key: str, limit: int, seconds: int) -> Window:
        """Count one hit in this process only, for limits that must hold while the counters are unavailable."""


class Mail(NamedTuple):
    """A plain-text mail to one recipient."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """The transport of outgoing mail: ``uprez/adapters/mail_smtp.py`` and ``mail_folder.py``."""

    def send(self, mail: Mail) -> None:
        """Send the mail. Raise Unavailable if it cannot be sent."""


class BackgroundRunner(Protocol):
    """Runs tasks that no response waits for: ``domain/background.py``, and ``ThreadPool.run_in_background``."""

    def __call__(self, task: Callable[[], None], /) -> None:
        """Run the task, possibly after the response, or drop it with a log line. Never raise."""


class ImageFacts(NamedTuple):
    """The format and the displayed sizes of an image file."""

    image_format: ImageFormat
    size: Size
    other_sizes: tuple[Size, ...] = ()
    """Sizes of the frames or pages after the first; at most ``max_frames`` of the format are listed."""


class Probe(Protocol):
    """Reads the header of an image file: ``uprez/adapters/image_probe.py``."""

    def __call__(self, content: BinaryIO, /) -> ImageFacts:
        """Return the format and the displayed sizes; the stream is at its start before and after.

        Raise InvalidImage if the format is not supported or the file is visibly incomplete.
        """
