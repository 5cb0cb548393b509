"""Jobs on a real database: many workers, some of them with stale claims, in any order."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from domain import accounts, images, jobs, uploads
from domain.database import tables
from domain.errors import NotFound
from domain.job_states import Job, NotClaimable, Status
from domain.records import Image, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import Database
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@dataclass
class Expected:
    """The expected row of one image, computed without the code under test."""

    month: str
    notified_at: datetime
    status: str = "pending"
    attempt: int = 0
    lost: int = 0
    lease_until: datetime | None = None
    result_key: str | None = None
    refunded: bool = False
    deleted: bool = False
    seen: list[str] = field(default_factory=lambda: ["pending"])

    def claimable(self, now: datetime) -> bool:
        expired = self.lease_until is None or self.lease_until <= now
        return not self.deleted and (self.status == "pending" or (self.status == "processing" and expired))

    def held_by(self, attempt: int) -> bool:
        return not self.deleted and self.status == "processing" and self.attempt == attempt

    def record_lost_attempt(self) -> None:
        self.lost += 1
        self.lease_until = None
        if self.lost == 3:
            self.status, self.refunded = "failed", True

    def end(self, status: str) -> None:
        self.status, self.lease_until = status, None


class ManyWorkers(RuleBasedStateMachine):
    """A model of jobs: each worker keeps its claims and may use them at any time, also after they became stale."""

    image_ids = Bundle("image_ids")
    attempts = Bundle("attempts")

    def __init__(
        self,
        make_services: Callable[[], Services],
        make_upload: Callable[[], uploads.Upload],
        stored_keys: Callable[[], list[str]],
    ) -> None:
        super().__init__()
        self.services = make_services()
        self.make_upload = make_upload
        self.stored_keys = stored_keys
        self.clock: Any = self.services.clock
        self.queue: Any = self.services.queue
        self.account, _token = accounts.create(
            self.services,
            name="Jane Smith",
            email="jane@example.com",
            password_hash="-",
            plan="starter",
            device_name="tests",
        )
        self.expected: dict[int, Expected] = {}

    # A worker deletes the file of a rejected result, so no file is left after all rows are deleted.
    def teardown(self) -> None:
        for image_id, expected in self.expected.items():
            if not expected.deleted:
                images.delete(self.services, self.account, image_id)
        remaining = self.stored_keys()
        self.services.database.close()
        assert remaining == []

    @property
    def now(self) -> datetime:
        now: datetime = self.clock.now()
        return now

    @property
    def lease_end(self) -> datetime:
        return self.now + self.services.policy.lease

    @precondition(lambda self: len(self.expected) < 4)
    @rule(target=image_ids)
    def submit(self) -> int:
        image = images.submit(self.services, self.account, self.make_upload(), uploads.UpscaleOptions())
        self.expected[image.id] = Expected(month=f"{self.now:%Y-%m}", notified_at=self.now)
        assert self.queue.drain() == [image.id]
        return image.id

    @rule(target=attempts, image_id=image_ids)
    def claim(self, image_id: int) -> Any:
        expected = self.expected[image_id]
        claimable = expected.claimable(self.now)
        if claimable and expected.lease_until is not None:
            expected.record_lost_attempt()
        if not claimable or expected.status == "failed":
            with pytest.raises(NotClaimable):
                jobs.claim(self.services, image_id)
            return multiple()
        expected.status = "processing"
        expected.attempt += 1
        expected.lease_until = self.lease_end
        image = jobs.claim(self.services, image_id)
        assert image.job.attempt == expected.attempt
        return image

    # The worker is killed. This rule makes three lost attempts in a row frequent.
    @rule(target=attempts, image_id=image_ids)
    def claim_and_expire(self, image_id: int) -> Any:
        image = self.claim(image_id)
        self.clock.advance(self.services.policy.lease)
        return image

    @rule(image=attempts, progress=st.integers(0, 99))
    def renew(self, image: Image, progress: int) -> None:
        expected = self.expected[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.renew(self.services, image, progress) is held
        if held:
            expected.lease_until = self.lease_end

    @rule(image=attempts)
    def release(self, image: Image) -> None:
        expected = self.expected[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.release_claim(self.services, image) is held
        if held:
            expected.lease_until = None

    @rule(image=attempts)
    def record_lost_attempt(self, image: Image) -> None:
        expected = self.expected[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.record_lost_attempt(self.services, image) is held
        if held:
            expected.record_lost_attempt()

    @rule(image=attempts)
    def complete(self, image: Image) -> None:
        expected = self.expected[image.id]
        held = expected.held_by(image.job.attempt)
        key = f"results/{self.services.random_source.token(32)}-{image.job.attempt}.png"
        size = self.services.store.put(key, io.BytesIO(b"a result"))
        result = Result(key, size, image.sizing.result(image.original_size), 1.25, "a-model", "cpu")
        assert jobs.complete(self.services, image, result) is held
        if held:
            expected.end("completed")
            expected.result_key = key
        else:
            self.services.store.delete(key)

    @rule(image=attempts, refund=st.booleans())
    def fail(self, image: Image, refund: bool) -> None:
        expected = self.expected[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.fail(self.services, image, "No.", refund=refund) is held
        if held:
            expected.end("failed")
            expected.refunded = refund

    @rule(image_id=consumes(image_ids))
    def delete(self, image_id: int) -> None:
        expected = self.expected[image_id]
        images.delete(self.services, self.account, image_id)
        expected.deleted = True
        expected.refunded |= expected.status == "pending"
        with pytest.raises(NotFound):
            images.get(self.services, self.account, image_id)

    # The last step leads to a new month: quota must be released in the month in which it was reserved.
    @rule(step=st.sampled_from([1, 14, 19, 20, 40, -10, 86_400 * 15]))
    def time_passes(self, step: int) -> None:
        self.clock.advance(timedelta(seconds=step))

    # Exactly the claimable images with no recent notification are requeued.
    @rule()
    def requeue_stale_images(self) -> None:
        notified_before = self.now - self.services.policy.requeue_after
        stale = [
            image_id
            for image_id, expected in self.expected.items()
            if expected.claimable(self.now) and expected.notified_at <= notified_before
        ]
        assert jobs.requeue_stale_images(self.services) == len(stale)
        assert sorted(self.queue.drain()) == stale
        for image_id in stale:
            self.expected[image_id].notified_at = self.now

    @invariant()
    def rows_match_the_model(self) -> None:
        with self.services.database.reading() as work:
            rows = {image_id: work.images.get(image_id) for image_id in self.expected}
        for image_id, expected in self.expected.items():
            image = rows[image_id]
            assert (image is None) is expected.deleted
            if image is None:
                continue
            assert image.job == Job(
                Status(expected.status), expected.attempt, expected.lost, expected.lease_until
            )
            # There is only the result of the attempt that was allowed to finish.
            assert (image.result.key if image.result else None) == expected.result_key
            assert (image.status is Status.COMPLETED) is (image.result is not None)
            assert (image.status is Status.FAILED) is (image.error is not None)
            if expected.seen[-1] != image.status.value:
                expected.seen.append(image.status.value)
            assert expected.seen in [
                ["pending", "processing", "completed"][: len(expected.seen)],
                ["pending", "processing", "failed"][: len(expected.seen)],
            ]

    @invariant()
    def list_totals_match_the_lists(self) -> None:
        listed = images.list_page(self.services, self.account, None, 1, 100)
        assert listed.total == len(listed.images)
        for status in Status:
            listed = images.list_page(self.services, self.account, status, 1, 100)
            assert listed.total == len(listed.images)

    @invariant()
    def quota_is_submitted_minus_refunded(self) -> None:
        expected_usage: dict[str, int] = {}
        for expected in self.expected.values():
            expected_usage[expected.month] = expected_usage.get(expected.month, 0) + (not expected.refunded)
        columns = tables.quota_usage.c
        with self.services.database.engine.connect() as connection:
            rows = connection.execute(select(columns.month, columns.used)).all()
        assert {month: used for month, used in rows} == expected_usage  # noqa: C416  # mypy does not know that a row is a pair


@pytest.mark.parametrize(
    "divisor", [pytest.param(4, id="short"), pytest.param(1, id="long", marks=pytest.mark.slow)]
)
def test_jobs_match_the_model(
    backend: str,
    divisor: int,
    make_services: Any,
    new_database: Callable[[], Database],
    make_upload: Callable[[], uploads.Upload],
    stored_keys: Callable[[], list[str]],
) -> None:
    def new_services() -> Services:
        services: Services = make_services(database=new_database())
        services.queue.drain()  # type: ignore[attr-defined]
        return services

    run_state_machine_as_test(
        partial(ManyWorkers, new_services, make_upload, stored_keys),
        settings=settings(
            max_examples=(60 if backend == "sqlite" else 12) // divisor,  # each on a database of its own
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
