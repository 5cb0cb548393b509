"""What a list, its total and the reconciler cost where there are many images: the plans of both databases."""

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


@pytest.fixture
def many(database: Database, make_account: Any, backend: str) -> Database:
    """Two accounts with so many images each: one has nearly all finished, the other none; some in batches."""
    finished = f"CASE WHEN i % 50 = 0 THEN 'failed' WHEN i > {MANY} - 10 THEN 'pending' ELSE 'completed' END"
    accounts = (make_account(), finished), (make_account(), "'pending'")
    with database.engine.begin() as connection:
        if backend == "postgresql":
            # Nobody's request waits for so much at once; how long it takes tells of the machine.
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
    """How the database goes about each statement that reads."""

    def explain(read: Callable[[Any], object]) -> list[str]:
        found: list[str] = []

        def note(_connection: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
            if statement.startswith("SELECT"):
                inquiry = cursor.connection.cursor()
                inquiry.execute(
                    f"EXPLAIN {'QUERY PLAN ' if backend == 'sqlite' else ''}{statement}", parameters
                )
                found.append("\n".join(str(row[-1]) for row in inquiry.fetchall()))
                inquiry.close()

        event.listen(many.engine, "before_cursor_execute", note)
        try:
            with many.reading() as work:
                read(work)
        finally:
            event.remove(many.engine, "before_cursor_execute", note)
        return found

    return explain


def assert_reads_what_it_needs(plan: str, index: str) -> None:
    assert index in plan
    # «SCAN … USING» an index is SQLite's word for reading one from its beginning until it has enough.
    assert not re.search(r"Seq Scan|SCAN images(?! USING)|Sort|Hash", plan), plan


def test_the_first_page_is_read_off_an_index_and_its_total_off_a_few_rows(
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
            assert_reads_what_it_needs(page, index)
            assert "TEMP B-TREE" not in page


def test_those_that_wait_are_counted_off_an_index(explained: Callable[..., list[str]]) -> None:
    (plan,) = explained(lambda work: work.images.count_pending(1000))
    assert "ix_images_waiting" in plan


def test_the_reconciler_and_a_worker_read_the_line_off_an_index(
    explained: Callable[..., list[str]],
) -> None:
    (line,) = explained(lambda work: work.images.stale_ids(now=NOW, notified_before=NOW, limit=10))
    (single,) = explained(lambda work: work.images.claimable_single_ids(now=NOW))
    for plan in (line, single):
        assert_reads_what_it_needs(plan, "ix_images_line")


def test_the_head_of_the_line_is_a_few_rows_and_the_total_is_right(many: Database) -> None:
    with many.reading() as work:
        head = work.images.stale_ids(now=NOW, notified_before=NOW, limit=10)
        assert work.images.claimable_single_ids(now=NOW)[0] in head
        pages = [work.images.page(account, None, limit=15, offset=0) for account in (1, 2)]
        failed = work.images.page(1, Status.FAILED, limit=15, offset=0)

    assert len(head) == 10
    assert [len(images) for images, _ in pages] == [15, 15]
    assert [total for _, total in pages] == [MANY, MANY]
    assert failed[1] == MANY // 50
