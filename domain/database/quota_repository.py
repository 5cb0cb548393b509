"""The repository of the monthly quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from domain.database import tables
from domain.database.statements import upsert_into

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class QuotaUsage:
    """The quota_usage table within one transaction; a month has the form ``2026-11``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def used(self, account_id: int, month: str) -> int:
        """Return the number of images that the account has used in the month."""
        columns = tables.quota_usage.c
        used = self._connection.execute(
            select(columns.used).where(columns.account_id == account_id, columns.month == month)
        ).scalar_one_or_none()
        return used or 0

    def reserve(self, account_id: int, month: str, images: int, limit: int | None) -> bool:
        """Reserve ``images`` images and return True, or return False if the limit would be exceeded.

        It is one conditional upsert, so that two concurrent requests cannot both reserve the last image.
        """
        if limit is not None and images > limit:
            return False  # the condition of the upsert applies to an update only, not to the first insert
        row = upsert_into(self._connection, tables.quota_usage).values(
            account_id=account_id, month=month, used=images
        )
        used = tables.quota_usage.c.used
        reserved = self._connection.execute(
            row.on_conflict_do_update(
                index_elements=["account_id", "month"],
                set_={"used": used + images},
                where=None if limit is None else used + images <= limit,
            ).returning(used)
        )
        return reserved.one_or_none() is not None

    def refund(self, account_id: int, month: str, images: int) -> None:
        """Give back ``images`` reserved images of the month; nothing changes if fewer are reserved."""
        columns = tables.quota_usage.c
        self._connection.execute(
            update(tables.quota_usage)
            .where(columns.account_id == account_id, columns.month == month, columns.used >= images)
            .values(used=columns.used - images)
        )
