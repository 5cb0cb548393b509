"""Batches on a real database: workers, deletions and cancellations in any order."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
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

from domain import accounts, batches, images, jobs
from domain.errors import NotFound
from domain.job_states import NotClaimable
from domain.records import BatchWithImages, Image, Result
from domain.uploads import Upload, UpscaleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import Database
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@dataclass
class ExpectedImage:
    """The expected state of an image; ``end`` is the status that its batch counts, also after it was deleted."""

    batch_id: int
    files: set[str]
    attempt: int = 0
    leased: bool = False
    lost: int = 0
    end: str | None = None
    refunded: bool = False
    deleted: bool = False

    def held_by(self, attempt: int) -> bool:
        return self.end is None and self.attempt == attempt

    def finish(self, end: str, *, refunded: bool = False) -> None:
        self.leased, self.end = False, end
        self.refunded |= refunded


@dataclass
class ExpectedBatch:
    image_ids: list[int]
    started: bool = False
    cancelled: bool = False
    deleted: bool = False
    seen: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])


class BatchLife(RuleBasedStateMachine):
    """A model of batches: it derives the state of each batch from the events of its images."""

    batch_ids = Bundle("batch_ids")
    image_ids = Bundle("image_ids")
    attempts = Bundle("attempts")

    def __init__(
        self,
        make_services: Callable[[], Services],
        make_upload: Callable[[], Upload],
        stored_keys: Callable[[], list[str]],
    ) -> None:
        super().__init__()
        self.services = make_services()
        self.make_upload = make_upload
        self.stored_keys = stored_keys
        self.account, _token = accounts.create(
            self.services,
            name="Jane Smith",
            email="jane@example.com",
            password_hash="-",
            plan="professional",
            device_name="tests",
        )
        self.batches: dict[int, ExpectedBatch] = {}
        self.images: dict[int, ExpectedImage] = {}

    def teardown(self) -> None:
        for batch_id, expected in self.batches.items():
            while not expected.deleted:
                expected.deleted = batches.remove(self.services, self.account, batch_id)
        self.services.database.close()
        assert self.stored_keys() == []

    def end_of(self, batch_id: int) -> str:
        expected = self.batches[batch_id]
        ends = {self.images[image_id].end for image_id in expected.image_ids}
        if expected.cancelled:
            return "cancelled"
        if None in ends:
            return "processing" if expected.started else "pending"
        return ends.pop() or "" if len(ends) == 1 else "partially_failed"

    @precondition(lambda self: sum(not image.deleted for image in self.images.values()) < 8)
    @rule(target=batch_ids, count=st.integers(1, 4))
    def submit(self, count: int) -> int:
        uploads = [self.make_upload() for _ in range(count)]
        batch, made = batches.submit(self.services, self.account, uploads, UpscaleOptions())
        self.batches[batch.id] = ExpectedBatch([image.id for image in made])
        self.images |= {image.id: ExpectedImage(batch.id, {image.original_key}) for image in made}
        return batch.id

    @rule(target=image_ids, batch_id=batch_ids, number=st.integers(0, 3))
    def select_image(self, batch_id: int, number: int) -> int:
        image_ids = self.batches[batch_id].image_ids
        return image_ids[number % len(image_ids)]

    @rule(target=attempts, image_id=image_ids)
    def claim(self, image_id: int) -> Any:
        expected = self.images[image_id]
        if expected.leased or expected.end is not None or expected.deleted:
            with pytest.raises(NotClaimable):
                jobs.claim(self.services, image_id)
            return multiple()
        image = jobs.claim(self.services, image_id)
        expected.leased, expected.attempt = True, image.job.attempt
        self.batches[expected.batch_id].started = True
        return image

    @rule(image=attempts)
    def renew(self, image: Image) -> None:
        expected = self.images[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.renew(self.services, image, 50) is held
        expected.leased |= held

    @rule(image=attempts)
    def record_lost_attempt(self, image: Image) -> None:
        expected = self.images[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.record_lost_attempt(self.services, image) is held
        if held:
            expected.leased = False
            expected.lost += 1
            if expected.lost == 3:
                expected.finish("failed", refunded=True)

    @rule(image=attempts)
    def complete(self, image: Image) -> None:
        expected = self.images[image.id]
        held = expected.held_by(image.job.attempt)
        key = f"results/{self.services.random_source.token(32)}-{image.job.attempt}.png"
        size = self.services.store.put(key, io.BytesIO(b"a result"))
        result = Result(key, size, image.sizing.result(image.original_size), 1.25, "a-model", "cpu")
        assert jobs.complete(self.services, image, result) is held
        if held:
            expected.finish("completed")
            expected.files.add(key)
        else:
            self.services.store.delete(key)

    @rule(image=attempts, refund=st.booleans())
    def fail(self, image: Image, refund: bool) -> None:
        expected = self.images[image.id]
        held = expected.held_by(image.job.attempt)
        assert jobs.fail(self.services, image, "No.", refund=refund) is held
        if held:
            expected.finish("failed", refunded=refund)

    @rule(image_id=image_ids)
    def delete_image(self, image_id: int) -> None:
        expected = self.images[image_id]
        if expected.deleted:
            with pytest.raises(NotFound):
                images.delete(self.services, self.account, image_id)
            return
        images.delete(self.services, self.account, image_id)
        expected.deleted = True
        if expected.end is None:
            expected.finish("failed", refunded=expected.attempt == 0)

    @rule(batch_id=consumes(batch_ids), target=batch_ids)
    def remove_batch(self, batch_id: int) -> Any:
        expected = self.batches[batch_id]
        is_finished = self.end_of(batch_id) not in {"pending", "processing"}
        assert batches.remove(self.services, self.account, batch_id) is is_finished
        for image in (self.images[image_id] for image_id in expected.image_ids):
            if is_finished:
                image.deleted = True
            elif image.end is None:
                image.finish("failed", refunded=image.attempt == 0)
        if not is_finished:
            expected.cancelled = True
            return batch_id
        expected.deleted = True
        with pytest.raises(NotFound):
            batches.remove(self.services, self.account, batch_id)
        return multiple()

    @invariant()
    def batches_match_their_images(self) -> None:
        page = batches.list_page(self.services, self.account, None, 1, 100)
        listed = {entry.batch.id: entry for entry in page.batches}
        assert len(listed) == page.total
        for batch_id, expected in self.batches.items():
            if expected.deleted:
                assert batch_id not in listed
                continue
            found = listed.pop(batch_id)
            assert found == batches.get(self.services, self.account, batch_id)
            self.check(expected, found)
        assert listed == {}

    def check(self, expected: ExpectedBatch, found: BatchWithImages) -> None:
        batch = found.batch
        ends = [self.images[image_id].end for image_id in expected.image_ids]
        assert batch.state.total == len(ends)
        assert batch.state.completed == ends.count("completed")
        assert batch.state.failed == ends.count("failed")
        assert batch.status.value == self.end_of(batch.id)
        finished = batch.state.completed + batch.state.failed
        assert batch.state.progress == finished * 100 // len(ends)
        assert (batch.completed_at is not None) is batch.status.is_terminal is (finished == len(ends))
        assert expected.seen[-1] <= (batch.state.completed, batch.state.failed)
        expected.seen.append((batch.state.completed, batch.state.failed))
        remaining = [image_id for image_id in expected.image_ids if not self.images[image_id].deleted]
        assert [image.id for image in found.images] == remaining
        for image in found.images:
            assert image.batch_id == batch.id
            # A finished batch has no unfinished image.
            assert image.status.is_terminal or not batch.status.is_terminal

    @invariant()
    def quota_is_submitted_minus_refunded(self) -> None:
        with self.services.database.reading() as work:
            used = work.quota.used(self.account.id, f"{self.services.clock.now():%Y-%m}")
        assert used == sum(not image.refunded for image in self.images.values())

    @invariant()
    def files_are_those_of_the_remaining_images(self) -> None:
        remaining = [image.files for image in self.images.values() if not image.deleted]
        assert self.stored_keys() == sorted(set().union(*remaining))


@pytest.mark.parametrize(
    "divisor", [pytest.param(4, id="short"), pytest.param(1, id="long", marks=pytest.mark.slow)]
)
def test_batches_match_the_model(
    backend: str,
    divisor: int,
    make_services: Any,
    new_database: Callable[[], Database],
    make_upload: Callable[[], Upload],
    stored_keys: Callable[[], list[str]],
) -> None:
    run_state_machine_as_test(
        partial(BatchLife, lambda: make_services(database=new_database()), make_upload, stored_keys),
        settings=settings(
            max_examples=(30 if backend == "sqlite" else 8) // divisor,  # each on a database of its own
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
