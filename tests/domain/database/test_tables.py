from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import StatementError

from domain.database import tables
from domain.database.tables import UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

INSTANT = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
ZONES = [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))]

times = Table("times", MetaData(), Column("at", UtcDateTime))


pytestmark = pytest.mark.both_databases


@pytest.fixture
def connection(new_url: Callable[[], str]) -> Iterator[Connection]:
    engine = create_engine(new_url())
    times.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def store(connection: Connection, *moments: datetime | None) -> list[datetime | None]:
    connection.execute(insert(times), [{"at": moment} for moment in moments])
    return list(connection.execute(select(times.c.at)).scalars())


@pytest.mark.parametrize("zone", ZONES)
def test_datetime_is_returned_as_the_same_instant_in_utc(connection: Connection, zone: timezone) -> None:
    (back,) = store(connection, INSTANT.astimezone(zone))
    assert back == INSTANT
    assert back is not None
    assert back.tzinfo is UTC
    if connection.dialect.name == "sqlite":
        assert connection.execute(text("SELECT at FROM times")).scalar_one() == "2026-11-22 12:30:15.123456"


def test_none_is_stored_as_none(connection: Connection) -> None:
    assert store(connection, None) == [None]


# Without a time zone the instant is unknown.
def test_datetime_without_time_zone_is_refused(connection: Connection) -> None:
    with pytest.raises(StatementError, match="no time zone"):
        store(connection, INSTANT.replace(tzinfo=None))


# SQLite compares them as text, so whole seconds must have the same length as others.
def test_datetimes_of_different_zones_compare_as_instants(connection: Connection) -> None:
    step = timedelta(microseconds=1)
    whole = INSTANT.replace(microsecond=0)
    moments = [whole - step, whole, whole + step, INSTANT, INSTANT + timedelta(hours=8)]
    zoned = [moment.astimezone(ZONES[index % 3]) for index, moment in enumerate(moments)]
    store(connection, *reversed(zoned))
    in_order = select(times.c.at).order_by(times.c.at)
    assert list(connection.execute(in_order).scalars()) == moments
    for index, moment in enumerate(zoned):
        assert (
            list(connection.execute(in_order.where(times.c.at <= moment)).scalars()) == moments[: index + 1]
        )
        assert list(connection.execute(in_order.where(times.c.at == moment)).scalars()) == [moments[index]]


@given(
    st.datetimes(
        timezones=st.sampled_from(ZONES),
        min_value=datetime(2000, 1, 1),  # noqa: DTZ001  # Hypothesis adds the time zone
        max_value=datetime(2999, 1, 1),  # noqa: DTZ001
    )
)
def test_every_dialect_stores_the_same_instant(moment: datetime) -> None:
    column: Any = UtcDateTime()
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        bound = column.process_bind_param(moment, dialect)
        assert (bound.tzinfo is None) is (dialect.name == "sqlite")
        back = column.process_result_value(bound, dialect)
        assert back == moment
        assert back.tzinfo is UTC


# A server may return times in the time zone of its session.
def test_returned_time_zone_is_converted_to_utc() -> None:
    column: Any = UtcDateTime()
    back = column.process_result_value(INSTANT.astimezone(ZONES[1]), postgresql.dialect())
    assert back == INSTANT
    assert back.tzinfo is UTC


def test_all_time_columns_are_utc_datetimes() -> None:
    columns = [column for table in tables.metadata.sorted_tables for column in table.columns]
    at = [column for column in columns if column.name.endswith(("_at", "_until"))]
    assert len(at) == 15
    assert all(isinstance(column.type, UtcDateTime) for column in at)


# 2³¹ images can be reached by a service that runs for years.
def test_ids_have_64_bits() -> None:
    for table in tables.metadata.sorted_tables:
        if "id" not in table.c:
            continue
        assert str(table.c.id.type.compile(dialect=postgresql.dialect())) == "BIGINT"
        assert str(table.c.id.type.compile(dialect=sqlite.dialect())) == "INTEGER"
