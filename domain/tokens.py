"""Bearer tokens of the form ``<id>|<40 random characters><crc32 of them>``; only a digest is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from domain import quota
from domain.background import run_now
from domain.errors import FieldProblem, InvalidFields, NotFound, Unauthenticated, Unavailable
from domain.records import Principal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.database.unit_of_work import Database, UnitOfWork
    from domain.ports import BackgroundRunner, RandomSource
    from domain.records import Account, Token
    from domain.services import Services

ALL_ABILITIES = ("images:read", "images:write", "images:delete", "user:read")
MAX_NAME = 255
_SECRET_CHARACTERS = 40
_TOUCH_INTERVAL = timedelta(minutes=1)
# The number of digits is bounded because a larger id does not fit in the database's integer.
_TOKEN = re.compile(rf"([1-9][0-9]{{0,17}})\|([A-Za-z0-9]{{{_SECRET_CHARACTERS}}})([0-9a-f]{{8}})", re.ASCII)


class IssuedToken(NamedTuple):
    """A new token, and its plain text for the client."""

    token: Token
    plain: str


def issue(
    work: UnitOfWork,
    random_source: RandomSource,
    account: Account,
    name: str,
    now: datetime,
    abilities: Sequence[str] = ALL_ABILITIES,
) -> str:
    """Create a token for the account and return its plain text, which is not stored.

    The name is cut to ``MAX_NAME`` characters. The caller commits, and locks the account if it exists
    already.
    """
    return _add(work, random_source, account, name, now, abilities).plain


def create(
    services: Services,
    principal: Principal,
    fields: Mapping[str, Any],
    schema_problems: Sequence[FieldProblem] = (),
) -> IssuedToken:
    """Create another token of the principal's account, with abilities that the principal's token has.

    ``fields`` are the fields that the contract's schema accepted, ``schema_problems`` are the errors of the
    others. Without the field ``abilities``, the new token gets all abilities of the principal's token. Raise
    InvalidFields with all errors of all fields, and Unauthenticated if the principal's token was revoked.
    """
    granted = principal.token.abilities
    requested = fields.get("abilities", granted)
    problems = list(schema_problems)
    if not set(requested) <= set(granted):
        problems.append(FieldProblem("abilities", "held_by_token", {"held": ", ".join(granted)}))
    if problems:
        raise InvalidFields(problems)
    abilities = [ability for ability in ALL_ABILITIES if ability in requested]
    with services.database.writing() as work:
        work.accounts.lock(principal.account.id)
        # Otherwise a stolen token could create another one while its owner revokes all of them.
        if work.tokens.with_account(principal.token.id) is None:
            raise Unauthenticated
        now = services.clock.now()
        issued = _add(work, services.random_source, principal.account, fields["name"], now, abilities)
        work.commit()
    return issued


def list_for_account(services: Services, account: Account) -> list[Token]:
    """Return the account's tokens, the newest first."""
    with services.database.reading() as work:
        return work.tokens.list_for_account(account.id)


def revoke(services: Services, account: Account, token_id: int) -> None:
    """Delete the token. Raise NotFound, also if it belongs to another account."""
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        if not work.tokens.delete_of(account.id, token_id):
            raise NotFound
        work.commit()


def authenticate(
    database: Database, plain: str, now: datetime, background: BackgroundRunner = run_now
) -> Principal:
    """Return the principal of a plain token.

    Raise Unauthenticated, the same for a malformed and for a wrong token.

    The principal has the quota used in the current month. The time of use is stored at most once a minute, by
    a task of ``background``; the default runs the task before this function returns.
    """
    token_id, secret = _parse(plain)
    with database.reading() as work:
        found = work.tokens.with_account(token_id, quota.month_of(now))
    if found is None or not hmac.compare_digest(found[0].secret_sha256, _digest(secret)):
        raise Unauthenticated
    token, account, used = found
    if token.last_used_at is None or now - token.last_used_at >= _TOUCH_INTERVAL:
        background(partial(_touch, database, token, now))
    return Principal(account, token, used)


def _add(
    work: UnitOfWork,
    random_source: RandomSource,
    account: Account,
    name: str,
    now: datetime,
    abilities: Sequence[str],
) -> IssuedToken:
    """Add a token to the unit of work, without committing.

    A name that is too long is cut to ``MAX_NAME`` characters.
    """
    secret = random_source.token(_SECRET_CHARACTERS)
    token = work.tokens.add(
        account_id=account.id,
        name=name[:MAX_NAME],
        secret_sha256=_digest(secret),
        abilities=abilities,
        now=now,
    )
    return IssuedToken(token, f"{token.id}|{secret}{_checksum(secret)}")


def _touch(database: Database, token: Token, now: datetime) -> None:
    """Store the time of use, or skip it if the database is unavailable or another writer is active."""
    try:
        with database.writing(wait=False) as work:
            work.tokens.touch(token.id, now)
            work.commit()
    except Unavailable:
        return  # the time of use is not worth an error; the next request writes it


def _parse(plain: str) -> tuple[int, str]:
    """Return the id and the secret of a plain token.

    Raise Unauthenticated if its form or its checksum is wrong.
    """
    match = _TOKEN.fullmatch(plain)
    # The checksum rejects a mistyped token without a database query.
    if match is None or not hmac.compare_digest(match[3], _checksum(match[2])):
        raise Unauthenticated
    return int(match[1]), match[2]


def _digest(secret: str) -> str:
    """Return the digest of a token's secret that is stored: SHA-256 in hexadecimal."""
    # 40 random characters cannot be guessed, so a slow password hash is not needed.
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(secret: str) -> str:
    """Return the checksum at a token's end: CRC-32 in eight hexadecimal digits."""
    return f"{zlib.crc32(secret.encode()):08x}"
