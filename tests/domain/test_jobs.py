from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from domain import images, jobs, quota, uploads
from domain.database.image_repository import Images
from domain.job_states import NotClaimable, Status
from domain.services import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import Database
    from domain.records import Account, Image, Result
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@pytest.fixture
def image(submit_image: Callable[[], Image]) -> Image:
    return submit_image()


def claim_and_expire(services: Services, clock: Any, image_id: int) -> Image:
    """Claim the image and let the lease expire, as a worker that was killed does."""
    claimed = jobs.claim(services, image_id)
    clock.advance(services.policy.lease)
    return claimed


# --- claim


def test_claim_moves_the_image_to_processing(services: Services, image: Image, clock: Any) -> None:
    claimed_at = clock.advance(timedelta(seconds=3))
    claimed = jobs.claim(services, image.id)
    assert claimed.status is Status.PROCESSING
    assert claimed.job.attempt == 1
    assert claimed.job.lease_until == claimed_at + services.policy.lease
    assert claimed.updated_at == claimed_at
    assert claimed.created_at == image.created_at


def test_unknown_image_is_not_claimable(services: Services) -> None:
    with pytest.raises(NotClaimable):
        jobs.claim(services, 4711)


def test_deleted_image_is_not_claimable(services: Services, account: Account, image: Image) -> None:
    images.delete(services, account, image.id)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


def test_claimed_image_is_not_claimable_again(services: Services, image: Image) -> None:
    jobs.claim(services, image.id)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


# Processes do not share a Database object: only the database itself can decide.
def test_one_of_many_concurrent_claims_succeeds(
    make_services: Any, reopen_database: Callable[[], Database], image: Image
) -> None:
    workers = [make_services(database=reopen_database()) for _ in range(8)]
    start = Barrier(len(workers))

    def claim(worker: Services) -> int:
        start.wait()
        try:
            return jobs.claim(worker, image.id).job.attempt
        except NotClaimable:
            return 0

    with ThreadPoolExecutor(len(workers)) as threads:
        attempts = list(threads.map(claim, workers))
    assert sorted(attempts) == [0] * 7 + [1]


# --- renew


def test_renew_stores_progress_and_extends_the_lease(
    services: Services, image: Image, clock: Any, read_image: Callable[[int], Image]
) -> None:
    claimed = jobs.claim(services, image.id)
    for percent in (10, 55):
        now = clock.advance(timedelta(seconds=15))
        assert jobs.renew(services, claimed, percent)
        row = read_image(image.id)
        assert row.progress == percent
        assert row.job.lease_until == now + services.policy.lease
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


# ``updated_at`` is the time of the last change that a client can see, and a lease is not visible.
def test_renew_does_not_change_updated_at(
    services: Services, image: Image, clock: Any, read_image: Callable[[int], Image]
) -> None:
    claimed = jobs.claim(services, image.id)
    clock.advance(timedelta(seconds=15))
    jobs.renew(services, claimed, 10)
    assert read_image(image.id).updated_at == claimed.updated_at


def test_renew_fails_after_the_image_was_deleted(services: Services, account: Account, image: Image) -> None:
    claimed = jobs.claim(services, image.id)
    images.delete(services, account, image.id)
    assert not jobs.renew(services, claimed, 10)


def test_renew_fails_after_another_worker_claimed(
    services: Services, image: Image, clock: Any, read_image: Callable[[int], Image]
) -> None:
    stale = claim_and_expire(services, clock, image.id)
    current = jobs.claim(services, image.id)
    assert not jobs.renew(services, stale, 99)
    row = read_image(image.id)
    assert row.progress == 0
    assert row.job == current.job


def test_lease_has_the_configured_duration(make_services: Any, image: Image, clock: Any) -> None:
    services = make_services(policy=Policy(lease=timedelta(hours=1)))
    jobs.claim(services, image.id)
    clock.advance(timedelta(minutes=59))
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)
    clock.advance(timedelta(minutes=1))
    assert jobs.claim(services, image.id).job.attempt == 2


# --- complete and fail


def test_completed_image_has_its_result(
    services: Services,
    image: Image,
    clock: Any,
    make_result: Callable[[Image], Result],
    read_image: Callable[[int], Image],
) -> None:
    claimed = jobs.claim(services, image.id)
    result = make_result(claimed)
    finished_at = clock.advance(timedelta(seconds=4))
    assert jobs.complete(services, claimed, result)
    row = read_image(image.id)
    assert row.status is Status.COMPLETED
    assert row.result == result
    assert row.progress == 100
    assert row.error is None
    assert row.updated_at == finished_at


# An expired lease alone does not discard a result: no other worker has claimed the image.
def test_expired_lease_can_complete_if_not_claimed_again(
    services: Services, image: Image, clock: Any, make_result: Callable[[Image], Result]
) -> None:
    late = claim_and_expire(services, clock, image.id)
    assert jobs.complete(services, late, make_result(late))


def test_stale_attempt_never_overwrites_a_result(
    services: Services,
    image: Image,
    clock: Any,
    make_result: Callable[[Image], Result],
    read_image: Callable[[int], Image],
) -> None:
    stale = claim_and_expire(services, clock, image.id)
    current = jobs.claim(services, image.id)
    result = make_result(current)
    assert jobs.complete(services, current, result)
    assert not jobs.complete(services, stale, make_result(stale))
    assert not jobs.fail(services, stale, "No.", refund=True)
    assert not jobs.record_lost_attempt(services, stale)
    assert not jobs.release_claim(services, stale)
    row = read_image(image.id)
    assert row.result == result
    assert row.error is None


def test_image_completes_only_once(
    services: Services,
    image: Image,
    make_result: Callable[[Image], Result],
    read_image: Callable[[int], Image],
) -> None:
    claimed = jobs.claim(services, image.id)
    result = make_result(claimed)
    assert jobs.complete(services, claimed, result)
    assert not jobs.complete(services, claimed, make_result(claimed))
    assert read_image(image.id).result == result


@pytest.mark.parametrize(("refund", "expected"), [(True, 0), (False, 1)])
def test_failed_image_has_its_message_and_quota(
    services: Services,
    account: Account,
    image: Image,
    refund: bool,
    expected: int,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
) -> None:
    claimed = jobs.claim(services, image.id)
    assert jobs.fail(services, claimed, "The image is damaged.", refund=refund)
    row = read_image(image.id)
    assert row.status is Status.FAILED
    assert row.error == "The image is damaged."
    assert row.result is None
    assert used(account) == expected


def test_quota_is_refunded_only_once(
    services: Services, account: Account, submit_image: Callable[[], Image], used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    submit_image()
    assert jobs.fail(services, claimed, "No.", refund=True)
    assert not jobs.fail(services, claimed, "No.", refund=True)
    assert used(account) == 1


# --- release and lost attempts


def test_released_image_is_claimable_any_number_of_times(services: Services, image: Image) -> None:
    for attempt in range(1, 10):
        claimed = jobs.claim(services, image.id)
        assert claimed.job.attempt == attempt
        assert jobs.release_claim(services, claimed)


@pytest.mark.parametrize("how", ["lease expired", "reported"])
def test_third_lost_attempt_fails_and_refunds_the_image(
    services: Services,
    account: Account,
    image: Image,
    how: str,
    clock: Any,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
) -> None:
    for attempt in range(1, 4):
        claimed = jobs.claim(services, image.id)
        assert claimed.job.attempt == attempt
        if how == "lease expired":
            clock.advance(services.policy.lease)
        else:
            assert jobs.record_lost_attempt(services, claimed)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)
    row = read_image(image.id)
    assert row.status is Status.FAILED
    assert row.error == jobs.LOST_MESSAGE
    assert row.updated_at == clock.now()
    assert used(account) == 0


def test_first_lost_attempt_is_not_visible_to_clients(
    services: Services,
    account: Account,
    image: Image,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
) -> None:
    assert jobs.record_lost_attempt(services, jobs.claim(services, image.id))
    row = read_image(image.id)
    assert row.status is Status.PROCESSING
    assert row.error is None
    assert used(account) == 1


# Two claims can find the third lease expired at the same time. Where both read the row before either writes, only
# the one whose step is applied may refund the quota.
def test_concurrent_claims_of_lost_image_refund_once(
    services: Services,
    account: Account,
    submit_image: Callable[[], Image],
    clock: Any,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = submit_image()
    submit_image()
    for _ in range(3):
        claim_and_expire(services, clock, image.id)
    row_of_both = read_image(image.id)
    for _ in range(2):
        monkeypatch.setattr(Images, "get", lambda *_arguments, **_options: row_of_both)
        with pytest.raises(NotClaimable):
            jobs.claim(services, image.id)
    assert used(account) == 1


# One worker fails the image while another deletes it: both lock the row and the quota, and would deadlock if they
# locked them in different orders.
@pytest.mark.postgresql
def test_fail_locks_the_image_before_the_quota(
    services: Services, image: Image, account: Account, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, image.id)
    with ThreadPoolExecutor(1) as thread:
        with services.database.writing() as work:
            work.images.locked(image.id)
            late = thread.submit(jobs.fail, services, claimed, "No.", refund=True)
            await_lock_wait(services.database)
            quota.refund(work, image)
            work.images.delete(image.id)
            work.commit()
        assert late.result() is False
    assert used(account) == 0


def await_lock_wait(database: Database) -> None:
    """Wait until a session of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with database.engine.connect() as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("No session waits for a lock.")


# --- requeue


def test_image_with_lost_message_is_requeued(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    queue.broken = True
    image = submit_image()
    queue.broken = False
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [image.id]


def test_without_pending_images_none_is_requeued(services: Services, queue: Any) -> None:
    assert jobs.requeue_stale_images(services) == 0
    assert queue.drain() == []


def test_image_is_not_requeued_before_the_period_ends(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    queue.drain()
    clock.advance(services.policy.requeue_after - timedelta(microseconds=1))
    assert jobs.requeue_stale_images(services) == 0
    clock.advance(timedelta(microseconds=1))
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [image.id]


# The reconciler runs every second. An image that waits for an hour because all workers are busy must not fill the
# queue with thousands of messages.
def test_waiting_image_is_requeued_once_in_each_period(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    queue.drain()
    seconds = 150
    for _ in range(seconds):
        clock.advance(timedelta(seconds=1))
        jobs.requeue_stale_images(services)
    assert queue.drain() == [image.id] * (seconds // 15)


def test_claimed_image_is_requeued_after_its_lease_expires(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    claimed = jobs.claim(services, image.id)
    queue.drain()
    for percent in range(5):
        clock.advance(services.policy.lease - timedelta(seconds=1))
        assert jobs.renew(services, claimed, percent)
        assert jobs.requeue_stale_images(services) == 0
    clock.advance(services.policy.lease)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [image.id]


def test_released_image_is_requeued(services: Services, image: Image, queue: Any, clock: Any) -> None:
    clock.advance(services.policy.requeue_after)
    jobs.release_claim(services, jobs.claim(services, image.id))
    queue.drain()
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [image.id]


def test_finished_image_is_not_requeued(
    services: Services,
    submit_image: Callable[[], Image],
    make_result: Callable[[Image], Result],
    queue: Any,
    clock: Any,
) -> None:
    completed, failed = (jobs.claim(services, submit_image().id) for _ in range(2))
    jobs.complete(services, completed, make_result(completed))
    jobs.fail(services, failed, "No.", refund=False)
    queue.drain()
    clock.advance(timedelta(days=30))
    assert jobs.requeue_stale_images(services) == 0
    assert queue.drain() == []


# As after an outage of the broker: not all in one call, but each image exactly once.
def test_oldest_images_are_requeued_first_and_each_once(
    services: Services, make_account: Any, make_upload: Any, queue: Any, clock: Any
) -> None:
    queue.broken = True
    account = make_account("professional")
    made = []
    for _ in range(130):
        made.append(images.submit(services, account, make_upload(), uploads.UpscaleOptions()).id)
        clock.advance(timedelta(milliseconds=1))
    queue.broken = False
    clock.advance(services.policy.requeue_after)
    notified = []
    while count := jobs.requeue_stale_images(services):
        requeued = queue.drain()
        assert count == len(requeued) <= 100
        for image_id in requeued:
            assert jobs.claim(services, image_id).job.attempt == 1
        notified += requeued
    assert notified == made


# A failed notification is not counted, and it is repeated after the period, not immediately.
def test_failed_notification_is_not_counted(services: Services, image: Image, queue: Any, clock: Any) -> None:
    queue.drain()
    queue.broken = True
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 0
    queue.broken = False
    assert jobs.requeue_stale_images(services) == 0
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [image.id]


# Every worker has a reconciler, and all of them run once a second.
def test_concurrent_reconcilers_notify_an_image_once(
    services: Services, image: Image, queue: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.drain()
    clock.advance(services.policy.requeue_after)
    stale_ids = Images.stale_ids

    def read_before_the_other_requeues(self: Images, **options: Any) -> list[int]:
        ids = stale_ids(self, **options)
        monkeypatch.setattr(Images, "stale_ids", stale_ids)
        jobs.requeue_stale_images(services)
        return ids

    monkeypatch.setattr(Images, "stale_ids", read_before_the_other_requeues)
    assert jobs.requeue_stale_images(services) == 0
    assert queue.drain() == [image.id]


# Cancelling a batch locks its images one after the other: waiting for them while holding others is a deadlock.
@pytest.mark.postgresql
def test_locked_image_is_skipped_without_waiting(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    first, locked_id, last = (submit_image().id for _ in range(3))
    queue.drain()
    clock.advance(services.policy.requeue_after)
    with services.database.writing() as work:
        work.images.locked(locked_id)
        assert jobs.requeue_stale_images(services) == 2
    assert queue.drain() == [first, last]
    assert jobs.requeue_stale_images(services) == 1
    assert queue.drain() == [locked_id]


# A message for every waiting image in every period would fill the queue.
def test_only_the_oldest_ten_images_are_requeued(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    ids = [submit_image().id for _ in range(20)]
    queue.drain()

    requeued = []
    for _ in range(20):
        clock.advance(services.policy.requeue_after)
        jobs.requeue_stale_images(services)
        requeued += queue.drain()

    assert set(requeued) == set(ids[:10])
    assert len(requeued) == 200


def test_unavailable_broker_is_tried_only_once(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    for _ in range(5):
        submit_image()
    clock.advance(services.policy.requeue_after)
    queue.broken = True
    queue.notify_calls = 0

    assert jobs.requeue_stale_images(services) == 0
    assert queue.notify_calls == 1
