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
    from domain.records import Account, Image, WholeBatch
    from domain.services import Services

pytestmark = pytest.mark.both_databases


@pytest.fixture
def account(make_account: Any) -> Account:
    account: Account = make_account("professional")
    return account


@pytest.fixture
def batch_of(services: Services, account: Account, make_upload: Any) -> Callable[[int], WholeBatch]:
    """Submits a batch of so many pictures."""
    return lambda count: batches.submit(
        services, account, [make_upload() for _ in range(count)], UpscaleOptions()
    )


def problems_of(
    services: Services, account: Account, files: list[Upload], options: UpscaleOptions, *known: FieldProblem
) -> list[FieldProblem]:
    with pytest.raises(InvalidFields) as caught:
        batches.submit(services, account, files, options, None, known)
    return list(caught.value.problems)


# --- submitting


def test_a_submitted_batch_is_pending_with_all_its_images(
    services: Services,
    account: Account,
    make_upload: Any,
    clock: Any,
    queue: Any,
    used: Callable[[Account], int],
    stored_keys: Callable[[], list[str]],
) -> None:
    files = [make_upload("a.png"), make_upload("b.gif", image_format=ImageFormat.GIF)]
    submitted = batches.submit(services, account, files, UpscaleOptions(target_width=16), "Product photos")

    assert submitted == batches.get(services, account, submitted.batch.id)
    batch, made = submitted
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
    assert queue.take() == [image.id for image in made]


def test_whoever_is_told_finds_all_rows(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image | None]
) -> None:
    found = []

    class LookingQueue:
        def notify(self, image_id: int) -> bool:
            found.append(read_image(image_id))
            return True

    files = [make_upload() for _ in range(3)]
    _, made = batches.submit(make_services(queue=LookingQueue()), account, files, UpscaleOptions())
    assert found == made


def test_the_wanted_model_is_that_of_each_image(
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


def test_every_problem_of_every_file_is_named_at_once(
    make_services: Any, account: Account, make_upload: Any, stored_keys: Callable[[], list[str]]
) -> None:
    services = make_services(policy=Policy(max_input_pixels=100))
    files = [
        Upload("no.png", io.BytesIO(b"no picture"), 10),
        make_upload(),
        make_upload(size=(101, 1)),
        make_upload(padding=10 * 1024 * 1024),
    ]
    known = FieldProblem("name", "max_characters", {"maximum": 255})
    assert problems_of(services, account, files, UpscaleOptions(2, 9), known) == [
        known,
        FieldProblem("images.0", "picture"),
        FieldProblem("images.2", "max_pixels", {"maximum": 100}),
        FieldProblem("images.3", "max_kilobytes", {"maximum": 10_240}),
        FieldProblem("scale_factor", "excluded_by_target"),
    ]
    assert stored_keys() == []


# A wish that no file goes with is wrong itself; one that only some do not go with is not.
def test_a_sizing_is_wrong_itself_only_when_no_file_goes_with_it(
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
    # The one that is no picture has its own problem, and no say in the others'.
    broken = Upload("no.png", io.BytesIO(b"no"), 2)
    assert problems(16, broken, large) == [FieldProblem("images.0", "picture"), too_small]


def test_of_a_sizing_that_was_not_understood_nothing_more_is_said(
    services: Services, account: Account, make_upload: Any
) -> None:
    known = FieldProblem("target_width", "integer")
    files = [make_upload(image_format=ImageFormat.WEBP, size=(8192, 1))]
    assert problems_of(services, account, files, UpscaleOptions(), known) == [known]
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


def test_a_batch_takes_its_quota_whole_or_not_at_all(
    services: Services,
    account: Account,
    batch_of: Callable[[int], WholeBatch],
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


# --- too many wait


def test_with_too_many_waiting_nobody_is_taken_in(
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
    # What is at work waits no longer.
    jobs.claim(services, made[0].id)
    images.submit(services, account, make_upload(), UpscaleOptions())
    assert batches.get(services, account, batch.id).batch.status is BatchStatus.PROCESSING


# --- looking


@pytest.mark.parametrize("operation", [batches.get, batches.remove])
def test_somebody_elses_batch_is_as_unknown_as_one_that_does_not_exist(
    operation: Any, services: Services, account: Account, make_account: Any, batch_of: Any
) -> None:
    whole, stranger = batch_of(1), make_account("professional")
    refusals = []
    for batch_id in (whole.batch.id, 4711):
        with pytest.raises(NotFound) as caught:
            operation(services, stranger, batch_id)
        refusals.append(caught.value.args)
    assert refusals[0] == refusals[1]
    assert batches.get(services, account, whole.batch.id) == whole


def test_a_list_has_the_newest_first_each_with_its_own_images(
    services: Services, account: Account, make_account: Any, batch_of: Any, clock: Any
) -> None:
    made = []
    for step, count in ((0, 2), (1, 1), (0, 3), (-3, 2), (5, 1)):
        clock.advance(timedelta(seconds=step))
        made.append(batch_of(count))
    newest_first = sorted(made, key=lambda whole: (whole.batch.created_at, whole.batch.id), reverse=True)
    pages = [batches.list_page(services, account, None, page, 2) for page in (1, 2, 3, 4)]
    assert [whole for page in pages for whole in page.batches] == newest_first
    assert {page.total for page in pages} == {5}
    assert batches.list_page(services, make_account(), None, 1, 15) == ([], 0)


def test_a_list_shows_only_the_wanted_status(services: Services, account: Account, batch_of: Any) -> None:
    pending, begun = batch_of(1), batch_of(2)
    jobs.claim(services, begun.images[0].id)

    def listed(status: BatchStatus) -> list[int]:
        page = batches.list_page(services, account, status, 1, 100)
        assert page.total == len(page.batches)
        return [whole.batch.id for whole in page.batches]

    assert listed(BatchStatus.PENDING) == [pending.batch.id]
    assert listed(BatchStatus.PROCESSING) == [begun.batch.id]
    assert listed(BatchStatus.CANCELLED) == []


# However many batches a page has: one statement counts them, one brings them and their images.
def test_a_page_costs_the_same_number_of_statements_whatever_is_on_it(
    services: Services, account: Account, batch_of: Any, database: Database
) -> None:
    asked: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: asked.append(statement),
    )
    counts = []
    for _ in range(2):
        batch_of(3)
        batch_of(2)
        asked.clear()
        batches.list_page(services, account, None, 1, 100)
        counts.append(len([statement for statement in asked if statement.startswith("SELECT")]))
    assert counts == [2, 2]


# --- cancelling and deleting


def test_a_cancelled_batch_stops_its_workers_and_costs_what_was_begun(
    services: Services,
    account: Account,
    batch_of: Any,
    make_result: Any,
    clock: Any,
    used: Callable[[Account], int],
    read_image: Callable[[int], Image],
) -> None:
    batch, (first, second, third) = batch_of(3)
    done, at_work = jobs.claim(services, first.id), jobs.claim(services, second.id)
    assert jobs.complete(services, done, make_result(done))
    cancelled_at = clock.advance(timedelta(seconds=3))

    assert batches.remove(services, account, batch.id) is False

    assert not jobs.renew(services, at_work, 50)
    assert not jobs.complete(services, at_work, make_result(at_work))
    for image in (second, third):
        assert read_image(image.id).error == batches._CANCELLED_MESSAGE
        with pytest.raises(NotClaimable):
            jobs.claim(services, image.id)
    assert read_image(first.id).status is Status.COMPLETED
    assert used(account) == 2
    cancelled = batches.get(services, account, batch.id).batch
    assert cancelled.state == BatchState(3, BatchStatus.CANCELLED, completed=1, failed=2)
    assert cancelled.completed_at == cancelled.updated_at == cancelled_at


def test_a_cancelled_batch_can_be_deleted_and_leaves_nothing(
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


# Both saw it at work; the one that comes second finds it cancelled, or ended, and would delete what is finished.
@pytest.mark.parametrize("meanwhile", ["cancelled", "ended"])
def test_who_cancels_a_batch_that_comes_to_its_end_meanwhile_deletes_nothing(
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
    done, at_work = jobs.claim(services, first.id), jobs.claim(services, second.id)
    jobs.complete(services, done, make_result(done))
    result = make_result(at_work)
    look = batches.get

    def look_before_it_ends(*arguments: Any) -> WholeBatch:
        monkeypatch.setattr(batches, "get", look)
        seen = look(*arguments)
        if meanwhile == "cancelled":
            assert batches.remove(services, account, batch.id) is False
        else:
            assert jobs.complete(services, at_work, result)
        return seen

    monkeypatch.setattr(batches, "get", look_before_it_ends)
    assert batches.remove(services, account, batch.id) is False

    assert batches.get(services, account, batch.id).batch.status.terminal
    assert read_image(first.id).status is Status.COMPLETED
    assert len(stored_keys()) == 4


# Everybody takes the rows in one order: where writers do not wait for each other, two who took them crosswise
# would wait for each other.
@pytest.mark.parametrize("operation", ["claim", "lose", "complete", "fail", "delete", "cancel"])
def test_the_batch_is_held_before_its_images_and_these_before_the_quota(
    services: Services,
    account: Account,
    batch_of: Any,
    make_result: Any,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, (first, _) = batch_of(2)
    claimed = first if operation in {"claim", "delete", "cancel"} else jobs.claim(services, first.id)
    taken: list[str] = []

    def note(owner: Any, method: str, word: str) -> None:
        original = getattr(owner, method)

        def noting(*arguments: Any, **options: Any) -> Any:
            taken.append(word)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, noting)

    note(Batches, "locked", "batch")
    for method in ("locked", "locked_of", "step"):
        note(Images, method, "image")
    note(QuotaUsage, "release", "quota")
    result = make_result(claimed)
    steps: dict[str, Callable[[], object]] = {
        "claim": lambda: jobs.claim(services, claimed.id),
        "lose": lambda: jobs.lose(services, claimed),
        "complete": lambda: jobs.complete(services, claimed, result),
        "fail": lambda: jobs.fail(services, claimed, "No.", refund=True),
        "delete": lambda: images.delete(services, account, claimed.id),
        "cancel": lambda: batches.remove(services, account, batch.id),
    }
    steps[operation]()
    assert taken[:2] == ["batch", "image"]
    assert taken.count("batch") == 1
    if operation in {"fail", "delete"}:
        assert taken == ["batch", "image", "quota"]


# A lease is nothing that a batch counts: those who renew one must not stand in line for it.
def test_renewing_and_handing_back_hold_no_batch(
    services: Services, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = jobs.claim(services, batch_of(1).images[0].id)
    monkeypatch.setattr(Batches, "locked", None)
    assert jobs.renew(services, claimed, 50)
    assert jobs.hand_back(services, claimed)


# --- whose turn it is


@pytest.fixture
def single(services: Services, account: Account, make_upload: Any) -> Callable[[], Image]:
    """Submits one more picture by itself."""
    return lambda: images.submit(services, account, make_upload(), UpscaleOptions())


def test_single_images_go_before_those_of_batches_the_longest_waiting_first(
    services: Services, batch_of: Any, single: Callable[[], Image]
) -> None:
    first, *_ = batch_of(3).images
    assert jobs.pending_singles_ahead_of(services, first.id) == []
    ids = [single().id for _ in range(2)]
    assert jobs.pending_singles_ahead_of(services, first.id) == ids
    # Between single ones the queue decides, and what is gone waits for nobody.
    assert jobs.pending_singles_ahead_of(services, ids[1]) == []
    assert jobs.pending_singles_ahead_of(services, 4711) == []


def test_only_what_waits_goes_before(
    services: Services, batch_of: Any, single: Callable[[], Image], make_result: Any, clock: Any
) -> None:
    (first,) = batch_of(1).images
    at_work, done = (jobs.claim(services, single().id) for _ in range(2))
    jobs.complete(services, done, make_result(done))
    assert jobs.pending_singles_ahead_of(services, first.id) == []
    clock.advance(services.policy.lease)
    assert jobs.pending_singles_ahead_of(services, first.id) == [at_work.id]
