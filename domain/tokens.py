"""Bearer tokens: ``<id>|<40 random characters><crc32 of them>``, of which only a digest is stored."""

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
_RANDOM_LETTERS = 40
_TOUCH_EVERY = timedelta(minutes=1)
# The id is bounded so that no number is too large for the database.
_TOKEN = re.compile(rf"([1-9][0-9]{{0,17}})\|([A-Za-z0-9]{{{_RANDOM_LETTERS}}})([0-9a-f]{{8}})", re.ASCII)


class Issued(NamedTuple):
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
    """The plain token, which exists only in this answer."""
    return _add(work, random_source, account, name, now, abilities).plain


def create(
    services: Services, principal: Principal, fields: Mapping[str, Any], known: Sequence[FieldProblem] = ()
) -> Issued:
    """One more token of the account that asks, with no ability that the asking token lacks.

    ``fields`` are those that the contract's schema accepted, ``known`` the problems of the others.
    Raises InvalidFields with all of them and ours, and Unauthenticated for a token revoked meanwhile.
    """
    held = principal.token.abilities
    wanted = fields.get("abilities", held)
    problems = list(known)
    if not set(wanted) <= set(held):
        problems.append(FieldProblem("abilities", "among_own", {"held": ", ".join(held)}))
    if problems:
        raise InvalidFields(problems)
    abilities = [ability for ability in ALL_ABILITIES if ability in wanted]
    with services.database.writing() as work:
        work.accounts.lock(principal.account.id)
        # Or whoever has a stolen token could outlive the moment in which its owner ends all of them.
        if work.tokens.with_account(principal.token.id) is None:
            raise Unauthenticated
        now = services.clock.now()
        issued = _add(work, services.random_source, principal.account, fields["name"], now, abilities)
        work.commit()
    return issued


def of_account(services: Services, account: Account) -> list[Token]:
    """The newest first."""
    with services.database.reading() as work:
        return work.tokens.of_account(account.id)


def revoke(services: Services, account: Account, token_id: int) -> None:
    """Raises NotFound, whether there is no such token or it is somebody else's."""
    with services.database.writing() as work:
        work.accounts.lock(account.id)
        if not work.tokens.delete_of(account.id, token_id):
            raise NotFound
        work.commit()


def authenticate(
    database: Database, plain: str, now: datetime, aside: BackgroundRunner = run_now
) -> Principal:
    """Raises Unauthenticated; a malformed token is told from a wrong one by nothing.

    That the token was used is written ``aside``: who asks need not wait for it.
    """
    token_id, secret = _parse(plain)
    with database.reading() as work:
        found = work.tokens.with_account(token_id, quota.month_of(now))
    if found is None or not hmac.compare_digest(found[0].secret_sha256, _digest(secret)):
        raise Unauthenticated
    token, account, used = found
    if token.last_used_at is None or now - token.last_used_at >= _TOUCH_EVERY:
        aside(partial(_touch, database, token, now))
    return Principal(account, token, used)


def _add(
    work: UnitOfWork,
    random_source: RandomSource,
    account: Account,
    name: str,
    now: datetime,
    abilities: Sequence[str],
) -> Issued:
    secret = random_source.token(_RANDOM_LETTERS)
    token = work.tokens.add(
        account_id=account.id,
        name=name[:MAX_NAME],
        secret_sha256=_digest(secret),
        abilities=abilities,
        now=now,
    )
    return Issued(token, f"{token.id}|{secret}{_checksum(secret)}")


def _touch(database: Database, token: Token, now: datetime) -> None:
    try:
        with database.writing(wait=False) as work:
            work.tokens.touch(token.id, now)
            work.commit()
    except Unavailable:
        return  # a busy database is no reason to refuse a reader; the next request tries again


def _parse(plain: str) -> tuple[int, str]:
    match = _TOKEN.fullmatch(plain)
    # A mistyped token fails its checksum, and the database is not asked.
    if match is None or not hmac.compare_digest(match[3], _checksum(match[2])):
        raise Unauthenticated
    return int(match[1]), match[2]


def _digest(secret: str) -> str:
    # 40 random characters need no slow hash: there is nothing to guess from.
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(secret: str) -> str:
    return f"{zlib.crc32(secret.encode()):08x}"
