from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import images, quota, uploads
from domain.errors import QuotaExceeded
from domain.quota import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import Database
    from domain.plans import Plan, Plans
    from domain.records import Account, Image
    from domain.services import Services

pytestmark = pytest.mark.both_databases


def plan_with_limit(plans: Plans, images_per_month: int | None) -> Plan:
    return replace(plans["starter"], images_per_month=images_per_month)


@pytest.fixture
def reserve(
    services: Services, account: Account, plans: Plans, clock: Any
) -> Callable[[int | None, int], bool]:
    """Provide a function that reserves ``count`` images of a quota of ``limit`` and returns whether it
    succeeded.
    """

    def reserve(limit: int | None, count: int) -> bool:
        with services.database.writing() as work:
            try:
                quota.reserve(work, account, plan_with_limit(plans, limit), clock.now(), count)
            except QuotaExceeded:
                return False
            work.commit()
            return True

    return reserve


def test_exactly_the_quota_can_be_reserved(
    reserve: Any, account: Account, used: Callable[[Account], int]
) -> None:
    assert [reserve(3, 1) for _ in range(5)] == [True, True, True, False, False]
    assert used(account) == 3


def test_several_images_are_reserved_all_or_none(
    reserve: Any, account: Account, used: Callable[[Account], int]
) -> None:
    assert reserve(5, 3)
    assert not reserve(5, 3)
    assert used(account) == 3
    assert reserve(5, 2)
    assert used(account) == 5


def test_first_reservation_can_be_the_whole_quota(
    reserve: Any, account: Account, used: Callable[[Account], int]
) -> None:
    assert reserve(3, 3)
    assert not reserve(3, 1)
    assert used(account) == 3


# The first reservation of a month is an insert, to which the condition of the update does not apply.
@pytest.mark.parametrize(("limit", "count"), [(0, 1), (2, 3)])
def test_first_reservation_over_the_quota_is_refused(
    reserve: Any, account: Account, used: Callable[[Account], int], limit: int, count: int
) -> None:
    assert not reserve(limit, count)
    assert used(account) == 0


def test_unlimited_plan_counts_and_admits_every_image(
    reserve: Any, account: Account, used: Callable[[Account], int]
) -> None:
    assert all(reserve(None, 10_000) for _ in range(3))
    assert used(account) == 30_000


def test_uncommitted_reservation_is_undone(
    services: Services, account: Account, plans: Plans, clock: Any, used: Callable[[Account], int]
) -> None:
    with services.database.writing() as work:
        quota.reserve(work, account, plans["starter"], clock.now())
        assert work.quota.used(account.id, "2026-11") == 1
    assert used(account) == 0


def test_each_account_has_its_own_quota(
    services: Services, make_account: Any, make_upload: Any, used: Callable[[Account], int]
) -> None:
    first, second = make_account("free"), make_account("free")
    for _ in range(2):
        images.submit(services, first, make_upload(), uploads.UpscaleOptions())
    images.submit(services, second, make_upload(), uploads.UpscaleOptions())
    assert (used(first), used(second)) == (2, 1)


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), "2026-11"),
        (datetime(2026, 12, 1, tzinfo=UTC), "2026-12"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2027-01"),
    ],
)
def test_month_is_the_calendar_month_in_utc(now: datetime, month: str) -> None:
    assert quota.month_of(now) == month


def test_next_month_starts_with_an_unused_quota(
    services: Services, make_account: Any, make_upload: Any, clock: Any, used: Callable[[Account], int]
) -> None:
    account = make_account("free")
    clock.set(datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC))
    for _ in range(2):
        images.submit(services, account, make_upload(), uploads.UpscaleOptions())
    with pytest.raises(QuotaExceeded):
        images.submit(services, account, make_upload(), uploads.UpscaleOptions())
    clock.advance(timedelta(microseconds=1))
    assert used(account) == 0
    assert images.submit(services, account, make_upload(), uploads.UpscaleOptions()).quota_month == "2026-12"
    assert used(account) == 1


# An image of November that is deleted in December does not increase the quota of December.
def test_quota_is_refunded_in_its_own_month(
    services: Services, make_account: Any, make_upload: Any, clock: Any
) -> None:
    account = make_account("free")
    old = images.submit(services, account, make_upload(), uploads.UpscaleOptions())
    clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    images.submit(services, account, make_upload(), uploads.UpscaleOptions())
    images.delete(services, account, old.id)
    with services.database.reading() as work:
        assert work.quota.used(account.id, "2026-11") == 0
        assert work.quota.used(account.id, "2026-12") == 1


def test_used_quota_never_falls_below_zero(
    services: Services, account: Account, submit_image: Callable[[], Image], used: Callable[[Account], int]
) -> None:
    image = submit_image()
    for _ in range(3):
        with services.database.writing() as work:
            quota.refund(work, image)
            work.commit()
        assert used(account) == 0


@pytest.mark.parametrize(
    ("usage", "remaining"),
    [(Usage(0, 25), 25), (Usage(24, 25), 1), (Usage(25, 25), 0), (Usage(200, 25), 0), (Usage(9, None), None)],
)
def test_remaining_quota_is_never_negative(usage: Usage, remaining: int | None) -> None:
    assert usage.remaining == remaining


def test_usage_has_the_limit_of_the_current_plan(
    services: Services, plans: Plans, make_account: Any, make_upload: Any, clock: Any
) -> None:
    account = make_account("professional")
    for _ in range(3):
        images.submit(services, account, make_upload(), uploads.UpscaleOptions())
    with services.database.reading() as work:
        assert quota.usage(work, account, plans["professional"], clock.now()) == Usage(3, 250)
        downgraded = quota.usage(work, account, plans["free"], clock.now())
    assert downgraded == Usage(3, 2)
    assert downgraded.remaining == 0


# --- concurrent requests


def submit_concurrently(
    installations: list[Services], account: Account, make_upload: Any, count: int
) -> tuple[list[Image], int]:
    """Submit ``count`` uploads, each on its own thread; return the accepted images and the number of
    refusals.
    """
    start = Barrier(count)

    def submit(number: int) -> Image | None:
        upload = make_upload()
        start.wait()
        try:
            return images.submit(
                installations[number % len(installations)], account, upload, uploads.UpscaleOptions()
            )
        except QuotaExceeded:
            return None

    with ThreadPoolExecutor(count) as threads:
        images_or_none = list(threads.map(submit, range(count)))
    return [image for image in images_or_none if image is not None], images_or_none.count(None)


def test_100_concurrent_uploads_share_ten_images_of_quota(
    make_services: Any,
    make_account: Any,
    make_upload: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
) -> None:
    services, account = make_services(), make_account("starter")
    earlier = [images.submit(services, account, make_upload(), uploads.UpscaleOptions()) for _ in range(15)]
    accepted, refused = submit_concurrently([services], account, make_upload, 100)
    assert (len(accepted), refused) == (10, 90)
    assert used(account) == 25
    assert stored_keys() == sorted(image.original_key for image in [*earlier, *accepted])
    assert images.list_page(services, account, None, 1, 1).total == 25


# As with several API processes, only the database is shared.
def test_several_processes_share_one_quota(
    make_services: Any,
    make_account: Any,
    make_upload: Any,
    reopen_database: Callable[[], Database],
    used: Callable[[Account], int],
) -> None:
    account = make_account("free")
    processes = [make_services(database=reopen_database()) for _ in range(6)]
    accepted, refused = submit_concurrently(processes, account, make_upload, 24)
    assert (len(accepted), refused) == (2, 22)
    assert used(account) == 2


def test_concurrent_deletions_and_uploads_keep_the_count(
    services: Services,
    make_account: Any,
    make_upload: Any,
    used: Callable[[Account], int],
) -> None:
    account = make_account("starter")
    existing = [images.submit(services, account, make_upload(), uploads.UpscaleOptions()) for _ in range(10)]
    start = Barrier(20)

    def delete(image: Image) -> None:
        start.wait()
        images.delete(services, account, image.id)

    def submit(_number: int) -> None:
        start.wait()
        images.submit(services, account, make_upload(), uploads.UpscaleOptions())

    with ThreadPoolExecutor(20) as threads:
        done = [threads.submit(delete, image) for image in existing]
        done += [threads.submit(submit, number) for number in range(10)]
        for each in done:
            each.result()
    assert used(account) == images.list_page(services, account, None, 1, 1).total == 10


# --- usage


@pytest.mark.parametrize(
    ("used", "limit", "percentage"),
    [
        (0, 25, 0.0),
        (42, 100, 42.0),
        (1, 3, 33.3),
        (2, 3, 66.7),
        (25, 25, 100.0),
        (26, 25, 104.0),
        (3, 2, 150.0),
        (250, 2, 12_500.0),
        (1, 16, 6.3),  # 6.25: Python's own rounding would go to the even digit
        (1, 400, 0.3),  # 0.25
        (1, 2000, 0.1),  # 0.05
        (1, 2001, 0.0),
        (1999, 2000, 100.0),  # 99.95
        (9_007_199_254_740_991, 9_007_199_254_740_992, 100.0),
        (0, 0, 100.0),
        (3, 0, 100.0),
        (0, None, 0.0),
        (9999, None, 0.0),
    ],
)
def test_percentage_is_rounded_half_up_to_one_decimal(
    used: int, limit: int | None, percentage: float
) -> None:
    assert Usage(used, limit).percentage == percentage
    assert str(Usage(used, limit).percentage) == str(percentage)


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_percentage_is_within_half_a_tenth(used: int, limit: int) -> None:
    exact = Fraction(100 * used, limit)
    assert abs(Fraction(str(Usage(used, limit).percentage)) - exact) <= Fraction(1, 20)


@pytest.mark.parametrize(
    ("used", "limit", "exceeded"),
    [(0, 1, False), (1, 1, True), (2, 1, True), (0, 0, True), (0, None, False), (10**9, None, False)],
)
def test_quota_is_exceeded_when_nothing_remains(used: int, limit: int | None, exceeded: bool) -> None:
    assert Usage(used, limit).exceeded is exceeded


def test_usage_is_of_this_month_and_account(
    services: Services, account: Account, submit_image: Any, make_account: Any, clock: Any
) -> None:
    for _ in range(2):
        submit_image()
    assert quota.this_month(services, account) == Usage(2, 25)
    assert quota.this_month(services, make_account("enterprise")) == Usage(0, 1000)
    clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    assert quota.this_month(services, account) == Usage(0, 25)
