from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from sqlalchemy import event

from domain import batches, images, jobs
from domain.batch_states import BatchState, BatchStatus
from domain.database.batch_repository import Batches
from domain.database.image_repository import Images
from domain.database.quota_repository import QuotaUsage
from domain.errors import FieldProblem, InvalidFields, NotFound, QuotaExceeded, Unavailable
from domain.formats import ImageFormat
from domain.job_states import NotClaimable, Status
from domain.services import Policy
from domain.sizing import Sizing
from domain.uploads import Upload, UpscaleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.database.unit_of_work import Database
    from domain.records import Account, BatchWithImages, Image
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@pytest.fixture
def account(make_account: Any) -> Account:
    account: Account = make_account("professional")
    return account


@pytest.fixture
def batch_of(services: Services, account: Account, make_upload: Any) -> Callable[[int], BatchWithImages]:
    """Submit a batch of ``count`` images."""
    return lambda count: batches.submit(
        services, account, [make_upload() for _ in range(count)], UpscaleOptions()
    )


def problems_of(
    services: Services,
    account: Account,
    files: list[Upload],
    options: UpscaleOptions,
    *schema_problems: FieldProblem,
) -> list[FieldProblem]:
    with pytest.raises(InvalidFields) as caught:
        batches.submit(services, account, files, options, None, schema_problems)
    return list(caught.value.problems)


# --- submit


def test_submitted_batch_is_pending_with_all_its_images(
    services: Services,
    account: Account,
    make_upload: Any,
    clock: Any,
    queue: Any,
    used: Callable[[Account], int],
    stored_keys: Callable[[], list[str]],
) -> None:
    files = [make_upload("a.png"), make_upload("b.gif", image_format=ImageFormat.GIF)]
    created = batches.submit(services, account, files, UpscaleOptions(target_width=16), "Product photos")

    assert created == batches.get(services, account, created.batch.id)
    batch, made = created
    assert (batch.name, batch.state, batch.sizing) == (
        "Product photos",
        BatchState(2),
        Sizing(target_width=16),
    )
    assert batch.created_at == batch.updated_at == clock.now()
    assert batch.completed_at is None
    assert [image.filename for image in made] == ["a.png", "b.gif"]
    assert {image.sizing for image in made} == {batch.sizing}
    assert {image.batch_id for image in made} == {batch.id}
    assert sorted(image.original_key for image in made) == stored_keys()
    assert used(account) == 2
    assert queue.drain() == [image.id for image in made]


def test_workers_are_notified_after_all_rows_exist(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image | None]
) -> None:
    found = []

    class ReadingQueue:
        def notify(self, image_id: int) -> bool:
            found.append(read_image(image_id))
            return True

    files = [make_upload() for _ in range(3)]
    _, made = batches.submit(make_services(queue=ReadingQueue()), account, files, UpscaleOptions())
    assert found == made


def test_requested_model_is_stored_for_each_image(
    make_services: Any, account: Account, make_upload: Any
) -> None:
    services = make_services(policy=Policy(model_choices={"anime": "a-model"}))
    batch, made = batches.submit(
        services, account, [make_upload(), make_upload()], UpscaleOptions(model="anime")
    )
    assert [image.model_choice for image in made] == ["anime", "anime"]
    assert batches.get(services, account, batch.id).images == made
    assert problems_of(services, account, [make_upload(), make_upload()], UpscaleOptions(model="fast")) == [
        FieldProblem("model", "offered", {"offered": "auto, anime"})
    ]


def test_submit_reports_all_problems_of_all_files(
    make_services: Any, account: Account, make_upload: Any, stored_keys: Callable[[], list[str]]
) -> None:
    services = make_services(policy=Policy(max_input_pixels=100))
    files = [
        Upload("no.png", io.BytesIO(b"not an image"), 12),
        make_upload(),
        make_upload(size=(101, 1)),
        make_upload(padding=10 * 1024 * 1024),
    ]
    too_long = FieldProblem("name", "max_characters", {"maximum": 255})
    assert problems_of(services, account, files, UpscaleOptions(2, 9), too_long) == [
        too_long,
        FieldProblem("images.0", "image_file"),
        FieldProblem("images.2", "max_pixels", {"maximum": 100}),
        FieldProblem("images.3", "max_kilobytes", {"maximum": 10_240}),
        FieldProblem("scale_factor", "excluded_by_target"),
    ]
    assert stored_keys() == []


# An error that all files have is reported for the sizing field, an error of some files for those files.
def test_sizing_field_is_reported_if_it_fits_no_file(
    services: Services, account: Account, make_upload: Any
) -> None:
    small, large = make_upload(size=(8, 6)), make_upload(size=(20, 6))
    too_small = FieldProblem("target_width", "larger_than_original", {"side": 20})
    too_large = FieldProblem("target_width", "within_plan_scale", {"maximum": 32})

    def problems(target: int, *files: Upload) -> list[FieldProblem]:
        return problems_of(services, account, list(files), UpscaleOptions(target_width=target))

    assert problems(16, large, large) == [too_small, too_small]
    assert problems(16, large) == [too_small]
    assert problems(16, small, large) == [FieldProblem("images.1", "unfit", {"because": too_small})]
    assert problems(50, small, large) == [FieldProblem("images.0", "unfit", {"because": too_large})]
    # A file that is not an image has its own error and does not count for the sizing.
    broken = Upload("no.png", io.BytesIO(b"no"), 2)
    assert problems(16, broken, large) == [FieldProblem("images.0", "image_file"), too_small]


def test_malformed_sizing_gives_no_further_error(
    services: Services, account: Account, make_upload: Any
) -> None:
    malformed = FieldProblem("target_width", "integer")
    files = [make_upload(image_format=ImageFormat.WEBP, size=(8192, 1))]
    assert problems_of(services, account, files, UpscaleOptions(), malformed) == [malformed]
    (problem,) = problems_of(services, account, files, UpscaleOptions())
    assert (problem.field, problem.rule) == ("scale_factor", "result_side")


@pytest.mark.parametrize("fails_at", [1, 3])
def test_when_one_file_cannot_be_stored_none_is(
    make_services: Any,
    account: Account,
    make_upload: Any,
    store: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
    queue: Any,
    fails_at: int,
) -> None:
    class FillingStore:
        puts = 0
        delete = store.delete

        def put(self, key: str, content: BinaryIO) -> int:
            self.puts += 1
            if self.puts == fails_at:
                raise Unavailable("The store is full.")
            written: int = store.put(key, content)
            return written

    services = make_services(store=FillingStore())
    with pytest.raises(Unavailable):
        batches.submit(services, account, [make_upload() for _ in range(3)], UpscaleOptions())
    assert stored_keys() == []
    assert used(account) == 0
    assert queue.notified == []
    assert batches.list_page(services, account, None, 1, 15) == ([], 0)


def test_batch_reserves_all_its_quota_or_none(
    services: Services,
    account: Account,
    batch_of: Callable[[int], BatchWithImages],
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
) -> None:
    for _ in range(12):
        batch_of(20)
    with pytest.raises(QuotaExceeded):
        batch_of(11)
    assert used(account) == len(stored_keys()) == 240
    batch_of(10)
    assert used(account) == 250


# --- too many pending images


def test_submit_fails_when_too_many_images_are_pending(
    make_services: Any,
    account: Account,
    make_upload: Any,
    used: Callable[[Account], int],
    stored_keys: Callable[[], list[str]],
) -> None:
    services = make_services(policy=Policy(max_waiting_images=5))
    batch, made = batches.submit(services, account, [make_upload() for _ in range(4)], UpscaleOptions())
    with pytest.raises(Unavailable):
        batches.submit(services, account, [make_upload() for _ in range(2)], UpscaleOptions())
    images.submit(services, account, make_upload(), UpscaleOptions())
    with pytest.raises(Unavailable):
        images.submit(services, account, make_upload(), UpscaleOptions())
    assert used(account) == len(stored_keys()) == 5
    # A claimed image is not pending any more.
    jobs.claim(services, made[0].id)
    images.submit(services, account, make_upload(), UpscaleOptions())
    assert batches.get(services, account, batch.id).batch.status is BatchStatus.PROCESSING


# --- read and list


@pytest.mark.parametrize("operation", [batches.get, batches.remove])
def test_other_accounts_batch_looks_like_an_unknown_one(
    operation: Any, services: Services, account: Account, make_account: Any, batch_of: Any
) -> None:
    found, other = batch_of(1), make_account("professional")
    errors = []
    for batch_id in (found.batch.id, 4711):
        with pytest.raises(NotFound) as caught:
            operation(services, other, batch_id)
        errors.append(caught.value.args)
    assert errors[0] == errors[1]
    assert batches.get(services, account, found.batch.id) == found


def test_list_has_newest_batches_first_with_their_images(
    services: Services, account: Account, make_account: Any, batch_of: Any, clock: Any
) -> None:
    made = []
    for step, count in ((0, 2), (1, 1), (0, 3), (-3, 2), (5, 1)):
        clock.advance(timedelta(seconds=step))
        made.append(batch_of(count))
    newest_first = sorted(made, key=lambda entry: (entry.batch.created_at, entry.batch.id), reverse=True)
    pages = [batches.list_page(services, account, None, page, 2) for page in (1, 2, 3, 4)]
    assert [entry for page in pages for entry in page.batches] == newest_first
    assert {page.total for page in pages} == {5}
    assert batches.list_page(services, make_account(), None, 1, 15) == ([], 0)


def test_list_shows_only_the_requested_status(services: Services, account: Account, batch_of: Any) -> None:
    pending, started = batch_of(1), batch_of(2)
    jobs.claim(services, started.images[0].id)

    def listed(status: BatchStatus) -> list[int]:
        page = batches.list_page(services, account, status, 1, 100)
        assert page.total == len(page.batches)
        return [entry.batch.id for entry in page.batches]

    assert listed(BatchStatus.PENDING) == [pending.batch.id]
    assert listed(BatchStatus.PROCESSING) == [started.batch.id]
    assert listed(BatchStatus.CANCELLED) == []


# For any number of batches, one statement counts them and one reads them with their images.
def test_list_page_always_runs_two_statements(
    services: Services, account: Account, batch_of: Any, database: Database
) -> None:
    statements: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    counts = []
    for _ in range(2):
        batch_of(3)
        batch_of(2)
        statements.clear()
        batches.list_page(services, account, None, 1, 100)
        counts.append(len([statement for statement in statements if statement.startswith("SELECT")]))
    assert counts == [2, 2]


# --- cancel and delete


def test_cancelled_batch_stops_workers_and_keeps_used_quota(
    services: Services,
    account: Account,
    batch_of: Any,
    make_result: Any,
    clock: Any,
    used: Callable[[Account], int],
    read_image: Callable[[int], Image],
) -> None:
    batch, (first, second, third) = batch_of(3)
    done, claimed = jobs.claim(services, first.id), jobs.claim(services, second.id)
    assert jobs.complete(services, done, make_result(done))
    cancelled_at = clock.advance(timedelta(seconds=3))

    assert batches.remove(services, account, batch.id) is False

    assert not jobs.renew(services, claimed, 50)
    assert not jobs.complete(services, claimed, make_result(claimed))
    for image in (second, third):
        assert read_image(image.id).error == batches._CANCELLED_MESSAGE
        with pytest.raises(NotClaimable):
            jobs.claim(services, image.id)
    assert read_image(first.id).status is Status.COMPLETED
    assert used(account) == 2
    cancelled = batches.get(services, account, batch.id).batch
    assert cancelled.state == BatchState(3, BatchStatus.CANCELLED, completed=1, failed=2)
    assert cancelled.completed_at == cancelled.updated_at == cancelled_at


def test_deleted_batch_leaves_no_rows_and_files(
    services: Services,
    account: Account,
    batch_of: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
    read_image: Callable[[int], Image | None],
) -> None:
    batch, made = batch_of(3)
    other = batch_of(1)
    batches.remove(services, account, batch.id)
    assert len(stored_keys()) == 4
    assert batches.remove(services, account, batch.id) is True
    assert stored_keys() == [other.images[0].original_key]
    assert [read_image(image.id) for image in made] == [None] * 3
    assert used(account) == 1
    with pytest.raises(NotFound):
        batches.remove(services, account, batch.id)


# Both requests read the batch as unfinished. The second one finds it finished and must not delete the results.
@pytest.mark.parametrize("meanwhile", ["cancelled", "finished"])
def test_cancel_of_batch_finished_meanwhile_deletes_nothing(
    services: Services,
    account: Account,
    batch_of: Any,
    make_result: Any,
    read_image: Callable[[int], Image],
    stored_keys: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
) -> None:
    batch, (first, second) = batch_of(2)
    done, claimed = jobs.claim(services, first.id), jobs.claim(services, second.id)
    jobs.complete(services, done, make_result(done))
    result = make_result(claimed)
    get = batches.get

    def read_before_it_ends(*arguments: Any) -> BatchWithImages:
        monkeypatch.setattr(batches, "get", get)
        found = get(*arguments)
        if meanwhile == "cancelled":
            assert batches.remove(services, account, batch.id) is False
        else:
            assert jobs.complete(services, claimed, result)
        return found

    monkeypatch.setattr(batches, "get", read_before_it_ends)
    assert batches.remove(services, account, batch.id) is False

    assert batches.get(services, account, batch.id).batch.status.is_terminal
    assert read_image(first.id).status is Status.COMPLETED
    assert len(stored_keys()) == 4


# Every transaction locks the rows in the same order: different orders would be a deadlock on PostgreSQL.
@pytest.mark.parametrize("operation", ["claim", "lose", "complete", "fail", "delete", "cancel"])
def test_lock_order_is_batch_image_quota(
    services: Services,
    account: Account,
    batch_of: Any,
    make_result: Any,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, (first, _) = batch_of(2)
    claimed = first if operation in {"claim", "delete", "cancel"} else jobs.claim(services, first.id)
    locks: list[str] = []

    def record(owner: Any, method: str, lock: str) -> None:
        original = getattr(owner, method)

        def recording(*arguments: Any, **options: Any) -> Any:
            locks.append(lock)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, recording)

    record(Batches, "locked", "batch")
    for method in ("locked", "locked_of", "step"):
        record(Images, method, "image")
    record(QuotaUsage, "refund", "quota")
    result = make_result(claimed)
    steps: dict[str, Callable[[], object]] = {
        "claim": lambda: jobs.claim(services, claimed.id),
        "lose": lambda: jobs.record_lost_attempt(services, claimed),
        "complete": lambda: jobs.complete(services, claimed, result),
        "fail": lambda: jobs.fail(services, claimed, "No.", refund=True),
        "delete": lambda: images.delete(services, account, claimed.id),
        "cancel": lambda: batches.remove(services, account, batch.id),
    }
    steps[operation]()
    assert locks[:2] == ["batch", "image"]
    assert locks.count("batch") == 1
    if operation in {"fail", "delete"}:
        assert locks == ["batch", "image", "quota"]


# A lease does not change a batch's counters, so renewing must not wait for the batch's lock.
def test_renew_and_release_do_not_lock_the_batch(
    services: Services, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = jobs.claim(services, batch_of(1).images[0].id)
    monkeypatch.setattr(Batches, "locked", None)
    assert jobs.renew(services, claimed, 50)
    assert jobs.release_claim(services, claimed)


# --- order of processing


@pytest.fixture
def single(services: Services, account: Account, make_upload: Any) -> Callable[[], Image]:
    """Submit one more image outside of a batch."""
    return lambda: images.submit(services, account, make_upload(), UpscaleOptions())


def test_single_images_go_first_in_their_order(
    services: Services, batch_of: Any, single: Callable[[], Image]
) -> None:
    first, *_ = batch_of(3).images
    assert jobs.pending_singles_ahead_of(services, first.id) == []
    ids = [single().id for _ in range(2)]
    assert jobs.pending_singles_ahead_of(services, first.id) == ids
    # The queue decides between single images, and no image goes before an unknown one.
    assert jobs.pending_singles_ahead_of(services, ids[1]) == []
    assert jobs.pending_singles_ahead_of(services, 4711) == []


def test_only_claimable_images_go_first(
    services: Services, batch_of: Any, single: Callable[[], Image], make_result: Any, clock: Any
) -> None:
    (first,) = batch_of(1).images
    claimed, done = (jobs.claim(services, single().id) for _ in range(2))
    jobs.complete(services, done, make_result(done))
    assert jobs.pending_singles_ahead_of(services, first.id) == []
    clock.advance(services.policy.lease)
    assert jobs.pending_singles_ahead_of(services, first.id) == [claimed.id]
