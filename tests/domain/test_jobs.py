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


def vanish(services: Services, clock: Any, image_id: int) -> Image:
    """A worker that claims the image and is never heard of again."""
    claimed = jobs.claim(services, image_id)
    clock.advance(services.policy.lease)
    return claimed


# --- claiming


def test_a_claim_moves_the_image_to_processing(services: Services, image: Image, clock: Any) -> None:
    claimed_at = clock.advance(timedelta(seconds=3))
    claimed = jobs.claim(services, image.id)
    assert claimed.status is Status.PROCESSING
    assert claimed.job.attempt == 1
    assert claimed.job.lease_until == claimed_at + services.policy.lease
    assert claimed.updated_at == claimed_at
    assert claimed.created_at == image.created_at


def test_an_image_that_does_not_exist_cannot_be_claimed(services: Services) -> None:
    with pytest.raises(NotClaimable):
        jobs.claim(services, 4711)


def test_an_image_that_was_deleted_cannot_be_claimed(
    services: Services, account: Account, image: Image
) -> None:
    images.delete(services, account, image.id)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


def test_the_second_message_for_an_image_at_work_is_done_at_once(services: Services, image: Image) -> None:
    jobs.claim(services, image.id)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


# Processes do not share a Database, so what decides is the file alone.
def test_of_many_workers_at_once_exactly_one_gets_the_image(
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


# --- keeping


def test_renewing_notes_the_progress_and_prolongs_the_lease(
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


# ``updated_at`` is what clients poll for; a lease is nothing they can see.
def test_renewing_is_no_update_that_a_client_sees(
    services: Services, image: Image, clock: Any, read_image: Callable[[int], Image]
) -> None:
    claimed = jobs.claim(services, image.id)
    clock.advance(timedelta(seconds=15))
    jobs.renew(services, claimed, 10)
    assert read_image(image.id).updated_at == claimed.updated_at


def test_whoever_renews_learns_that_the_image_was_deleted(
    services: Services, account: Account, image: Image
) -> None:
    claimed = jobs.claim(services, image.id)
    images.delete(services, account, image.id)
    assert not jobs.renew(services, claimed, 10)


def test_whoever_renews_too_late_learns_that_another_has_it(
    services: Services, image: Image, clock: Any, read_image: Callable[[int], Image]
) -> None:
    zombie = vanish(services, clock, image.id)
    heir = jobs.claim(services, image.id)
    assert not jobs.renew(services, zombie, 99)
    row = read_image(image.id)
    assert row.progress == 0
    assert row.job == heir.job


def test_the_length_of_the_lease_is_the_operators_choice(
    make_services: Any, image: Image, clock: Any
) -> None:
    patient = make_services(policy=Policy(lease=timedelta(hours=1)))
    jobs.claim(patient, image.id)
    clock.advance(timedelta(minutes=59))
    with pytest.raises(NotClaimable):
        jobs.claim(patient, image.id)
    clock.advance(timedelta(minutes=1))
    assert jobs.claim(patient, image.id).job.attempt == 2


# --- finishing


def test_a_completed_image_shows_its_result(
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


# Work is never thrown away for a slow clock alone: without an heir, the late result is as good.
def test_a_worker_whose_lease_ran_out_may_still_finish_if_nobody_else_came(
    services: Services, image: Image, clock: Any, make_result: Callable[[Image], Result]
) -> None:
    late = vanish(services, clock, image.id)
    assert jobs.complete(services, late, make_result(late))


def test_a_zombie_never_overwrites_the_result_of_its_heir(
    services: Services,
    image: Image,
    clock: Any,
    make_result: Callable[[Image], Result],
    read_image: Callable[[int], Image],
) -> None:
    zombie = vanish(services, clock, image.id)
    heir = jobs.claim(services, image.id)
    result = make_result(heir)
    assert jobs.complete(services, heir, result)
    assert not jobs.complete(services, zombie, make_result(zombie))
    assert not jobs.fail(services, zombie, "No.", refund=True)
    assert not jobs.lose(services, zombie)
    assert not jobs.hand_back(services, zombie)
    row = read_image(image.id)
    assert row.result == result
    assert row.error is None


def test_an_image_completes_once(
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


@pytest.mark.parametrize(("refund", "left"), [(True, 0), (False, 1)])
def test_a_failed_image_has_its_sentence_and_costs_what_it_should(
    services: Services,
    account: Account,
    image: Image,
    refund: bool,
    left: int,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
) -> None:
    claimed = jobs.claim(services, image.id)
    assert jobs.fail(services, claimed, "The picture is damaged.", refund=refund)
    row = read_image(image.id)
    assert row.status is Status.FAILED
    assert row.error == "The picture is damaged."
    assert row.result is None
    assert used(account) == left


def test_a_refund_is_given_once(
    services: Services, account: Account, submit_image: Callable[[], Image], used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    submit_image()
    assert jobs.fail(services, claimed, "No.", refund=True)
    assert not jobs.fail(services, claimed, "No.", refund=True)
    assert used(account) == 1


# --- handing back, and losing


def test_an_image_that_was_handed_back_can_be_claimed_at_once_and_for_ever(
    services: Services, image: Image
) -> None:
    for attempt in range(1, 10):
        claimed = jobs.claim(services, image.id)
        assert claimed.job.attempt == attempt
        assert jobs.hand_back(services, claimed)


@pytest.mark.parametrize("how", ["silently", "with a word"])
def test_the_third_lost_attempt_fails_the_image_and_gives_the_quota_back(
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
        if how == "silently":
            clock.advance(services.policy.lease)
        else:
            assert jobs.lose(services, claimed)
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)
    row = read_image(image.id)
    assert row.status is Status.FAILED
    assert row.error == jobs.LOST_SENTENCE
    assert row.updated_at == clock.now()
    assert used(account) == 0


def test_before_the_third_a_lost_attempt_says_nothing_to_the_client(
    services: Services,
    account: Account,
    image: Image,
    read_image: Callable[[int], Image],
    used: Callable[[Account], int],
) -> None:
    assert jobs.lose(services, jobs.claim(services, image.id))
    row = read_image(image.id)
    assert row.status is Status.PROCESSING
    assert row.error is None
    assert used(account) == 1


# Two claims find the third lease run out at the same time: on a database that lets both read the row
# before either writes, only the one whose step is taken may give the quota back.
def test_two_claims_that_find_the_image_lost_give_its_quota_back_once(
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
        vanish(services, clock, image.id)
    as_both_read_it = read_image(image.id)
    for _ in range(2):
        monkeypatch.setattr(Images, "get", lambda *_arguments, **_options: as_both_read_it)
        with pytest.raises(NotClaimable):
            jobs.claim(services, image.id)
    assert used(account) == 1


# One gives the image up while another finds its lease run out: both need the row and the quota, and each
# would have what the other waits for, if they took them in another order.
@pytest.mark.postgresql
def test_whoever_fails_an_image_takes_its_row_before_its_quota(
    services: Services, image: Image, account: Account, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, image.id)
    with ThreadPoolExecutor(1) as thread:
        with services.database.writing() as work:
            work.images.locked(image.id)
            late = thread.submit(jobs.fail, services, claimed, "No.", refund=True)
            await_somebody_who_waits(services.database)
            quota.release(work, image)
            work.images.delete(image.id)
            work.commit()
        assert late.result() is False
    assert used(account) == 0


def await_somebody_who_waits(database: Database) -> None:
    """Until some session of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with database.engine.connect() as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("nobody waits")


# --- waking


def test_an_image_whose_message_was_lost_is_woken(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    queue.broken = True
    image = submit_image()
    queue.broken = False
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [image.id]


def test_where_nobody_waits_nobody_is_woken(services: Services, queue: Any) -> None:
    assert jobs.requeue_stale_images(services) == 0
    assert queue.take() == []


def test_an_image_is_not_woken_before_its_message_had_its_time(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    queue.take()
    clock.advance(services.policy.requeue_after - timedelta(microseconds=1))
    assert jobs.requeue_stale_images(services) == 0
    clock.advance(timedelta(microseconds=1))
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [image.id]


# The reconciler looks every second. An image that waits for an hour because all workers are busy must
# not fill the queue with thousands of messages.
def test_a_waiting_image_is_woken_once_in_each_period(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    queue.take()
    looks = 150
    for _ in range(looks):
        clock.advance(timedelta(seconds=1))
        jobs.requeue_stale_images(services)
    assert queue.take() == [image.id] * (looks // 15)


def test_an_image_at_work_sleeps_on_until_its_lease_runs_out(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    claimed = jobs.claim(services, image.id)
    queue.take()
    for percent in range(5):
        clock.advance(services.policy.lease - timedelta(seconds=1))
        assert jobs.renew(services, claimed, percent)
        assert jobs.requeue_stale_images(services) == 0
    clock.advance(services.policy.lease)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [image.id]


def test_an_image_that_was_handed_back_is_woken(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    clock.advance(services.policy.requeue_after)
    jobs.hand_back(services, jobs.claim(services, image.id))
    queue.take()
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [image.id]


def test_what_is_finished_is_left_asleep(
    services: Services,
    submit_image: Callable[[], Image],
    make_result: Callable[[Image], Result],
    queue: Any,
    clock: Any,
) -> None:
    completed, failed = (jobs.claim(services, submit_image().id) for _ in range(2))
    jobs.complete(services, completed, make_result(completed))
    jobs.fail(services, failed, "No.", refund=False)
    queue.take()
    clock.advance(timedelta(days=30))
    assert jobs.requeue_stale_images(services) == 0
    assert queue.take() == []


# As after an outage of the broker: not all of them in one breath, but none forgotten, and none twice.
def test_the_longest_asleep_are_woken_first_until_all_are_awake(
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
        told = queue.take()
        assert count == len(told) <= 100
        for image_id in told:
            assert jobs.claim(services, image_id).job.attempt == 1
        notified += told
    assert notified == made


# Nobody heard it, so it is not counted; and it is said again when its time has come, not at once.
def test_while_the_queue_is_down_nobody_counts_as_woken(
    services: Services, image: Image, queue: Any, clock: Any
) -> None:
    queue.take()
    queue.broken = True
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 0
    queue.broken = False
    assert jobs.requeue_stale_images(services) == 0
    clock.advance(services.policy.requeue_after)
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [image.id]


# Every worker has a reconciler, and all of them look once a second.
def test_two_reconcilers_at_the_same_moment_wake_an_image_once(
    services: Services, image: Image, queue: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.take()
    clock.advance(services.policy.requeue_after)
    look = Images.stale_ids

    def look_while_the_other_wakes(self: Images, **options: Any) -> list[int]:
        asleep = look(self, **options)
        monkeypatch.setattr(Images, "stale_ids", look)
        jobs.requeue_stale_images(services)
        return asleep

    monkeypatch.setattr(Images, "stale_ids", look_while_the_other_wakes)
    assert jobs.requeue_stale_images(services) == 0
    assert queue.take() == [image.id]


# Who cancels a batch holds its images one after the other: waiting for them with some in hand is a deadlock.
@pytest.mark.postgresql
def test_an_image_that_somebody_holds_is_not_waited_for_and_not_woken(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    first, held, last = (submit_image().id for _ in range(3))
    queue.take()
    clock.advance(services.policy.requeue_after)
    with services.database.writing() as work:
        work.images.locked(held)
        assert jobs.requeue_stale_images(services) == 2
    assert queue.take() == [first, last]
    assert jobs.requeue_stale_images(services) == 1
    assert queue.take() == [held]


# A message for every waiting image, every time, would soon be all that the queue is busy with.
def test_a_long_line_gets_a_handful_of_wake_ups_however_long_it_waits(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    ids = [submit_image().id for _ in range(20)]
    queue.take()

    told = []
    for _ in range(20):
        clock.advance(services.policy.requeue_after)
        jobs.requeue_stale_images(services)
        told += queue.take()

    assert set(told) == set(ids[:10])
    assert len(told) == 200


def test_a_broker_that_is_down_is_asked_once(
    services: Services, submit_image: Callable[[], Image], queue: Any, clock: Any
) -> None:
    for _ in range(5):
        submit_image()
    clock.advance(services.policy.requeue_after)
    queue.broken = True
    queue.asked = 0

    assert jobs.requeue_stale_images(services) == 0
    assert queue.asked == 1
