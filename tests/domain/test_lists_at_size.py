"""Query plans of lists, totals and the reconciler in both databases with many images."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text

from domain.database.unit_of_work import Database
from domain.job_states import Status

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MANY = 100_000
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many)",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, :many))",
}
_TIMES = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', '2026-01-01', '+' || i || ' seconds')",
    "postgresql": "timestamptz '2026-01-01' + i * interval '1 second'",
}
_INSERT = """
INSERT INTO images (account_id, original_filename, original_key, original_size, original_width,
    original_height, picture_format, api_request, status, attempt, lost, woken_at, progress, quota_month,
    created_at, updated_at, batch_id)
{numbers}
SELECT :account, 'photo.png', 'originals/' || i, 1, 8, 6, 'png', i = i, {status}, 0, 0, {time}, 0, '2026-01',
    {time}, {time}, {batch}
FROM n
"""


pytestmark = pytest.mark.slow  # inserts 100,000 images


@pytest.fixture
def many(database: Database, make_account: Any, backend: str) -> Database:
    """Provide a database with two accounts of MANY images: finished ones and pending ones, some in batches."""
    finished = f"CASE WHEN i % 50 = 0 THEN 'failed' WHEN i > {MANY} - 10 THEN 'pending' ELSE 'completed' END"
    accounts = (make_account(), finished), (make_account(), "'pending'")
    with database.engine.begin() as connection:
        if backend == "postgresql":
            # The insert is larger than any statement of a request, and its duration depends on the machine.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for account, status in accounts:
            statement = _INSERT.format(
                numbers=_NUMBERS[backend],
                status=status,
                time=_TIMES[backend],
                batch="CASE WHEN i % 3 = 0 THEN i / 20 END",
            )
            connection.execute(text(statement), {"many": MANY, "account": account.id})
        connection.execute(
            text(
                "INSERT INTO image_counts SELECT account_id, status, count(*) FROM images "
                "GROUP BY account_id, status"
            )
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return database


@pytest.fixture
def explained(many: Database, backend: str) -> Callable[..., list[str]]:
    """Provide a function that returns the query plan of each SELECT statement."""

    def explain(read: Callable[[Any], object]) -> list[str]:
        found: list[str] = []

        def record(_connection: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
            if statement.startswith("SELECT"):
                explain_cursor = cursor.connection.cursor()
                explain_cursor.execute(
                    f"EXPLAIN {'QUERY PLAN ' if backend == 'sqlite' else ''}{statement}", parameters
                )
                found.append("\n".join(str(row[-1]) for row in explain_cursor.fetchall()))
                explain_cursor.close()

        event.listen(many.engine, "before_cursor_execute", record)
        try:
            with many.reading() as work:
                read(work)
        finally:
            event.remove(many.engine, "before_cursor_execute", record)
        return found

    return explain


def expect_index_without_scan(plan: str, index: str) -> None:
    assert index in plan
    # In SQLite, "SCAN … USING" an index reads it from its beginning until there are enough rows.
    assert not re.search(r"Seq Scan|SCAN images(?! USING)|Sort|Hash", plan), plan


def test_first_page_uses_an_index_and_total_uses_counts(
    explained: Callable[..., list[str]],
) -> None:
    for status, index in (
        (None, "ix_images_newest"),
        (Status.COMPLETED, "ix_images_newest_by_status"),
        (Status.PENDING, "ix_images_newest_by_status"),
    ):
        for account in (1, 2):
            total, page = explained(
                lambda work, of=account, only=status: work.images.page(of, only, limit=15, offset=0)
            )
            assert "image_counts" in total
            assert "images " not in total.replace("image_counts", "")
            expect_index_without_scan(page, index)
            assert "TEMP B-TREE" not in page


def test_count_of_pending_images_uses_an_index(explained: Callable[..., list[str]]) -> None:
    (plan,) = explained(lambda work: work.images.count_pending(1000))
    assert "ix_images_waiting" in plan


def test_claimable_images_are_read_from_an_index(
    explained: Callable[..., list[str]],
) -> None:
    (stale,) = explained(lambda work: work.images.stale_ids(now=NOW, notified_before=NOW, limit=10))
    (single,) = explained(lambda work: work.images.claimable_single_ids(now=NOW))
    for plan in (stale, single):
        expect_index_without_scan(plan, "ix_images_line")


def test_stale_ids_are_limited_and_totals_are_correct(many: Database) -> None:
    with many.reading() as work:
        oldest = work.images.stale_ids(now=NOW, notified_before=NOW, limit=10)
        assert work.images.claimable_single_ids(now=NOW)[0] in oldest
        pages = [work.images.page(account, None, limit=15, offset=0) for account in (1, 2)]
        failed = work.images.page(1, Status.FAILED, limit=15, offset=0)

    assert len(oldest) == 10
    assert [len(images) for images, _ in pages] == [15, 15]
    assert [total for _, total in pages] == [MANY, MANY]
    assert failed[1] == MANY // 50
