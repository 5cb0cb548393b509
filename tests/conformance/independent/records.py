"""What the server remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex


@dataclass
class Account:
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
    id: int
    account: Account
    name: str
    secret: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass
class Sizing:
    """As it was asked for."""

    scale_factor: int | None = None
    target_width: int | None = None
    target_height: int | None = None


@dataclass
class StoredImage:
    id: int
    account: Account
    filename: str
    format: str
    content: bytes
    original_size: tuple[int, int]
    wanted_size: tuple[int, int]
    sizing: Sizing
    created_at: datetime
    updated_at: datetime
    batch: StoredBatch | None = None
    status: str = "pending"
    result: bytes = b""
    result_size: tuple[int, int] = (0, 0)
    began: float = 0.0
    processing_time: float | None = None
    stored_name: str = field(default_factory=lambda: token_hex(8))


@dataclass
class StoredBatch:
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
    begun: bool = False
    cancelled: bool = False
    completed_at: datetime | None = None


@dataclass
class Response:
    """An answer on its way out: ``Server.after`` may still change it."""

    status: int
    headers: dict[str, str]
    body: bytes
