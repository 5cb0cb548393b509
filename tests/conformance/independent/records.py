"""The records that the independent server stores and passes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass
class Account:
    """A user with a plan. ``used`` and ``quota`` count images."""

    id: int
    name: str
    email: str
    password: str
    plan: str
    created_at: datetime
    verified_at: datetime | None = None
    used: int = 0
    quota: int = 0


@dataclass
class Token:
    """An API token. ``secret`` is its plain text."""

    id: int
    account: Account
    name: str
    secret: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass
class Caller:
    """The account and the token of an authenticated request."""

    account: Account
    token: Token


@dataclass
class Sizing:
    """The size options as the client sent them. The targets are pixels."""

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None


@dataclass
class StoredImage:
    """An uploaded image and, once it is completed, its result. Sizes are pixels, ``processing_time`` is seconds.

    ``started`` is a reading of the monotonic clock.
    """

    id: int
    account: Account
    filename: str
    format: str
    content: bytes
    original_size: tuple[int, int]
    target_size: tuple[int, int]
    sizing: Sizing
    created_at: datetime
    updated_at: datetime
    batch: StoredBatch | None = None
    status: str = "pending"
    result: bytes = b""
    result_size: tuple[int, int] = (0, 0)
    started: float = 0.0
    processing_time: float | None = None
    stored_name: str = field(default_factory=lambda: token_hex(8))


@dataclass
class StoredBatch:
    """A batch. ``images`` are those not deleted; the counters include deleted ones."""

    id: int
    account: Account
    name: str | None
    sizing: Sizing
    total: int
    created_at: datetime
    updated_at: datetime
    images: list[StoredImage] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    has_started: bool = False
    cancelled: bool = False
    completed_at: datetime | None = None


@dataclass(frozen=True)
class Route:
    """One operation. ``access``: public, account, images, batches or link. ``body``: json, form or empty.

    ``max_bytes`` limits the body.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    access: str
    body: str = ""
    max_bytes: int = 0


@dataclass
class Success:
    """The result of a handler. ``extra`` holds the envelope's further fields: ``meta`` and ``links`` of a list."""

    message: str
    data: Any = None
    status: int = 200
    extra: dict[str, Any] | None = None


@dataclass
class Response:
    """A response before it is sent. ``adjust_response`` may still change it."""

    status: int
    headers: dict[str, str]
    body: bytes
