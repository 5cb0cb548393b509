"""Repositories of accounts, their subscriptions and their bearer tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from domain.database import tables
from domain.database.statements import (
    TOKEN_WITH_ACCOUNT,
    account_from,
    split_row,
    subscription_from,
    token_from,
    upsert_into,
)
from domain.errors import EmailTaken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from domain.records import Account, Subscription, SubscriptionStatus, Token


class Accounts:
    """The accounts table, with the subscription of each account, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        name: str,
        email: str,
        password_hash: str,
        plan: str,
        verified_at: datetime | None,
        now: datetime,
    ) -> Account:
        """Insert an account and return it, without a subscription.

        Raise EmailTaken if the address has an account. After EmailTaken the transaction can only be rolled
        back.
        """
        try:
            row = self._connection.execute(
                insert(tables.accounts)
                .values(
                    name=name,
                    email=email,
                    password_hash=password_hash,
                    plan=plan,
                    email_verified_at=verified_at,
                    created_at=now,
                    updated_at=now,
                )
                .returning(*tables.accounts.c)
            ).one()
        except IntegrityError:
            raise EmailTaken from None
        return account_from(row, None)

    def get(self, account_id: int) -> Account | None:
        """Return the account with its subscription, or None."""
        return self._one(tables.accounts.c.id == account_id)

    def lock(self, account_id: int) -> None:
        """Lock the account's row until the end of the transaction.

        Every transaction that creates or revokes tokens of the account locks it first. SQLite ignores the
        lock: it has only one writer, which BEGIN IMMEDIATE selects.
        """
        self._connection.execute(
            select(tables.accounts.c.id).where(tables.accounts.c.id == account_id).with_for_update()
        )

    def by_email(self, email: str) -> Account | None:
        """Return the account of a normalized address with its subscription, or None."""
        return self._one(tables.accounts.c.email == email)

    def count(self) -> int:
        """Return the number of all accounts."""
        return self._connection.execute(select(func.count()).select_from(tables.accounts)).scalar_one()

    def verify_email(self, account_id: int, now: datetime) -> None:
        """Mark the account's address as verified now, unless it already is."""
        self._connection.execute(
            update(tables.accounts)
            .where(tables.accounts.c.id == account_id, tables.accounts.c.email_verified_at.is_(None))
            .values(email_verified_at=now, updated_at=now)
        )

    def set_password(self, account_id: int, password_hash: str, now: datetime) -> None:
        """Replace the account's password hash."""
        self._set(account_id, password_hash=password_hash, updated_at=now)

    def set_plan(self, account_id: int, plan: str, now: datetime) -> None:
        """Set the slug of the account's plan."""
        self._set(account_id, plan=plan, updated_at=now)

    def set_images_per_month(self, account_id: int, images: int | None, now: datetime) -> None:
        """Set the account's own monthly limit; None removes it."""
        self._set(account_id, images_per_month=images, updated_at=now)

    def count_by_plan(self) -> dict[str, int]:
        """Return the number of accounts for the slug of each plan that has any."""
        plan = tables.accounts.c.plan
        rows = self._connection.execute(select(plan, func.count()).group_by(plan).order_by(plan))
        return {row[0]: row[1] for row in rows}

    def _set(self, account_id: int, **values: Any) -> None:
        """Set these columns of the account; nothing changes if there is no such account."""
        self._connection.execute(
            update(tables.accounts).where(tables.accounts.c.id == account_id).values(values)
        )

    def _one(self, condition: Any) -> Account | None:
        """Return the only account that matches, with its subscription, or None."""
        row = self._connection.execute(
            select(tables.accounts, tables.subscriptions)
            .outerjoin(tables.subscriptions, tables.subscriptions.c.account_id == tables.accounts.c.id)
            .where(condition)
        ).one_or_none()
        if row is None:
            return None
        account, subscription = split_row(row, tables.accounts, tables.subscriptions)
        return account_from(account, subscription)


class Subscriptions:
    """The subscriptions table within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(
        self,
        account_id: int,
        status: SubscriptionStatus,
        *,
        trial_ends_at: datetime | None = None,
        ends_at: datetime | None = None,
        now: datetime,
    ) -> Subscription:
        """Insert or update the account's only subscription and return it.

        An update replaces both end dates, also by None, and keeps ``created_at``.
        """
        values = {"status": status.value, "trial_ends_at": trial_ends_at, "ends_at": ends_at}
        row = upsert_into(self._connection, tables.subscriptions).values(
            account_id=account_id, created_at=now, **values
        )
        put = row.on_conflict_do_update(index_elements=["account_id"], set_=values)
        return subscription_from(self._connection.execute(put.returning(*tables.subscriptions.c)).one())


class Tokens:
    """The tokens table within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, *, account_id: int, name: str, secret_sha256: str, abilities: Sequence[str], now: datetime
    ) -> Token:
        """Insert an unused token and return it; ``secret_sha256`` is its secret's digest in hexadecimal."""
        row = self._connection.execute(
            insert(tables.tokens)
            .values(
                account_id=account_id,
                name=name,
                secret_sha256=secret_sha256,
                abilities=list(abilities),
                created_at=now,
            )
            .returning(*tables.tokens.c)
        ).one()
        return token_from(row)

    def with_account(self, token_id: int, month: str = "") -> tuple[Token, Account, int] | None:
        """Return the token, its account and the account's used quota of ``month``, or None, in one query.

        The account has its subscription. The quota is 0 without a month.
        """
        row = self._connection.execute(TOKEN_WITH_ACCOUNT, {"token": token_id, "month": month}).one_or_none()
        if row is None:
            return None
        *columns, used = row
        token, account, subscription = split_row(
            columns, tables.tokens, tables.accounts, tables.subscriptions
        )
        return token_from(token), account_from(account, subscription), used or 0

    def list_for_account(self, account_id: int) -> list[Token]:
        """Return the account's tokens, the newest first."""
        rows = self._connection.execute(
            select(tables.tokens)
            .where(tables.tokens.c.account_id == account_id)
            .order_by(tables.tokens.c.created_at.desc(), tables.tokens.c.id.desc())
        )
        return [token_from(row) for row in rows]

    def touch(self, token_id: int, now: datetime) -> None:
        """Set the time at which the token was last used."""
        self._connection.execute(
            update(tables.tokens).where(tables.tokens.c.id == token_id).values(last_used_at=now)
        )

    def delete(self, token_id: int) -> None:
        """Delete the token if it exists."""
        self._connection.execute(delete(tables.tokens).where(tables.tokens.c.id == token_id))

    def delete_of(self, account_id: int, token_id: int) -> bool:
        """Delete the account's token and return whether it existed; another account's token is kept."""
        deleted = self._connection.execute(
            delete(tables.tokens)
            .where(tables.tokens.c.id == token_id, tables.tokens.c.account_id == account_id)
            .returning(tables.tokens.c.id)
        )
        return deleted.one_or_none() is not None

    def delete_all(self, account_id: int) -> None:
        """Delete every token of the account."""
        self._connection.execute(delete(tables.tokens).where(tables.tokens.c.account_id == account_id))
