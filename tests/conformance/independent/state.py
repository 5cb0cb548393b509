"""Options, stored records, clock and ids of the independent server."""

from __future__ import annotations

import queue
import secrets
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from independent.records import Account, StoredBatch, StoredImage, Token


class State:
    """The state that all parts of the server share.

    ``slow``: seconds before each response. ``throttle``: every n-th request with a token gets 429.
    ``key_order``: "reversed" reverses the keys of JSON objects. ``extra``: responses have fields, headers and a
    charset that the contract does not list.
    """

    largest_factor = 4  # of every plan
    base_url: str  # set when the server starts

    def __init__(
        self,
        *,
        work_seconds: float = 0.02,
        slow: float = 0,
        throttle: int = 0,
        retry_after: int = 0,
        key_order: str = "",
        extra: bool = False,
        quota: int = 100_000,
        unauthenticated_per_hour: int = 1_000_000,
        link_seconds: int = 3600,
    ) -> None:
        self.work_seconds, self.slow = work_seconds, slow
        self.throttle, self.retry_after = throttle, retry_after
        self.key_order, self.extra = key_order, extra
        self.quota, self.unauthenticated_per_hour = quota, unauthenticated_per_hour
        self.link_seconds = link_seconds
        self.lock = threading.RLock()
        self.secret = secrets.token_bytes(32)
        self.last_ids: dict[str, int] = {}
        self.with_token = self.without_token = 0
        self.accounts: dict[int, Account] = {}
        self.tokens_by_secret: dict[str, Token] = {}
        self.images: dict[int, StoredImage] = {}
        self.batches: dict[int, StoredBatch] = {}
        self.work: queue.Queue[StoredImage | None] = queue.Queue()
        self.stopped = threading.Event()

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def time_text(self, moment: datetime | None) -> str | None:
        """Return the time as the contract writes it, or None for None."""
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None

    def new_id(self, kind: str) -> int:
        """Return the next id of "account", "token", "image" or "batch"."""
        self.last_ids[kind] = self.last_ids.get(kind, 0) + 1
        return self.last_ids[kind]
