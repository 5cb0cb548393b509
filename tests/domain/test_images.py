from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from domain import images, jobs
from domain.database.unit_of_work import UnitOfWork
from domain.errors import (
    FieldProblem,
    InvalidFields,
    NotDownloadable,
    NotFound,
    QuotaExceeded,
    Unavailable,
)
from domain.formats import ImageFormat
from domain.job_states import NotClaimable, Status
from domain.ports import ImageFacts
from domain.services import Policy
from domain.sizing import Caps, Size, Sizing
from domain.uploads import Upload, UpscaleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.records import Account, Image, Result
    from domain.services import Services
    from domain.stores.local import LocalFiles

pytestmark = pytest.mark.both_databases


def problems_of(
    services: Services, account: Account, upload: Upload | None, options: UpscaleOptions, *known: FieldProblem
) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        images.submit(services, account, upload, options, known)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


@pytest.fixture
def nothing_stored(
    database: Any, stored_keys: Callable[[], list[str]], queue: Any, used: Callable[[Account], int]
) -> Callable[[Account], None]:
    """Asserts that an account has no row, no file, no quota used, and nobody was told anything."""

    def check(account: Account) -> None:
        with database.reading() as work:
            assert work.images.page(account.id, None, limit=1, offset=0) == ([], 0)
        assert stored_keys() == []
        assert used(account) == 0
        assert queue.notified == []

    return check


# --- submitting


def test_a_submitted_image_is_pending_with_everything_known_of_it(
    services: Services, account: Account, make_upload: Any, clock: Any, read_image: Callable[[int], Image]
) -> None:
    upload = make_upload("Ferien.jpeg", image_format=ImageFormat.JPEG, size=(640, 480), padding=1000)
    image = images.submit(services, account, upload, UpscaleOptions(scale_factor=3))
    assert image == read_image(image.id)
    assert image.account_id == account.id
    assert image.status is Status.PENDING
    assert image.filename == "Ferien.jpeg"
    assert image.original_bytes == upload.bytes
    assert image.original_size == Size(640, 480)
    assert image.image_format is ImageFormat.JPEG
    assert image.sizing == Sizing(scale_factor=3)
    assert image.api_request
    assert image.created_at == image.updated_at == clock.now()
    assert image.quota_month == "2026-11"
    assert (image.progress, image.result, image.error) == (0, None, None)


# The client's name says nothing about where a file lies; its format does so about the extension.
def test_the_original_lies_under_a_made_up_name_byte_for_byte(
    services: Services, account: Account, make_upload: Any, stored_keys: Callable[[], list[str]]
) -> None:
    upload = make_upload("../../etc/passwd", image_format=ImageFormat.BMP, padding=300_000)
    image = images.submit(services, account, upload, UpscaleOptions())
    assert stored_keys() == [image.original_key]
    folder, _, name = image.original_key.partition("/")
    assert folder == "originals"
    assert name.endswith(".bmp")
    assert len(name) == 32 + len(".bmp")
    upload.content.seek(0)
    with services.store.open(image.original_key) as stored:
        assert stored.read() == upload.content.read()


def test_two_uploads_of_one_file_are_two_images(
    services: Services, account: Account, make_upload: Any
) -> None:
    first, second = (images.submit(services, account, make_upload(), UpscaleOptions()) for _ in range(2))
    assert second.id > first.id
    assert second.original_key != first.original_key


def test_a_target_is_kept_as_it_was_asked_for(services: Services, account: Account, make_upload: Any) -> None:
    image = images.submit(services, account, make_upload(size=(100, 50)), UpscaleOptions(target_height=101))
    assert image.sizing == Sizing(target_height=101)


# Wrong orders lose images or bill for nothing: no quota without a file, no row without quota, no
# message before the row is there for everybody.
def test_submitting_goes_file_then_quota_then_row_then_message(
    make_services: Any, account: Account, make_upload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def note(owner: Any, method: str, word: str) -> None:
        original = getattr(owner, method)

        def noting(*arguments: Any, **options: Any) -> Any:
            told.append(word)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, noting)

    services = make_services()
    note(services.store, "put", "file")
    note(services.queue, "notify", "message")
    note(images.quota, "take", "quota")
    note(UnitOfWork, "commit", "commit")
    images.submit(services, account, make_upload(), UpscaleOptions())
    assert told == ["file", "quota", "commit", "message"]


def test_whoever_is_told_finds_the_row(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image | None]
) -> None:
    found = []

    class LookingQueue:
        def notify(self, image_id: int) -> bool:
            found.append(read_image(image_id))
            return True

    image = images.submit(make_services(queue=LookingQueue()), account, make_upload(), UpscaleOptions())
    assert found == [image]


def test_an_image_is_accepted_while_the_queue_is_down(
    services: Services, account: Account, make_upload: Any, queue: Any
) -> None:
    queue.broken = True
    image = images.submit(services, account, make_upload(), UpscaleOptions())
    assert images.get(services, account, image.id).status is Status.PENDING


def test_over_the_quota_nothing_is_stored(
    services: Services,
    make_account: Any,
    make_upload: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
    queue: Any,
) -> None:
    account = make_account("free")
    accepted = [images.submit(services, account, make_upload(), UpscaleOptions()) for _ in range(2)]
    queue.take()
    with pytest.raises(QuotaExceeded):
        images.submit(services, account, make_upload(), UpscaleOptions())
    assert stored_keys() == sorted(image.original_key for image in accepted)
    assert images.list_page(services, account, None, 1, 10).total == 2
    assert used(account) == 2
    assert queue.notified == []


# Only a request that is otherwise right can be over quota.
def test_a_wrong_request_is_told_so_before_the_quota_is_looked_at(
    services: Services, make_account: Any, make_upload: Any
) -> None:
    account = make_account("free")
    for _ in range(2):
        images.submit(services, account, make_upload(), UpscaleOptions())
    wrong = problems_of(services, account, make_upload(), UpscaleOptions(target_width=1))
    assert wrong == [("target_width", "larger_than_original")]


def test_an_outage_of_the_store_leaves_no_row_and_costs_nothing(
    make_services: Any, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    class FullStore:
        def put(self, key: str, content: BinaryIO) -> int:
            raise Unavailable("No space left.")

    with pytest.raises(Unavailable):
        images.submit(make_services(store=FullStore()), account, make_upload(), UpscaleOptions())
    nothing_stored(account)


def test_an_outage_of_the_database_leaves_no_file(
    services: Services,
    account: Account,
    make_upload: Any,
    nothing_stored: Callable[[Account], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def commit(_work: UnitOfWork) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(UnitOfWork, "commit", commit)
        with pytest.raises(Unavailable):
            images.submit(services, account, make_upload(), UpscaleOptions())
    nothing_stored(account)


# The rows may be there, and who deleted their files would have taken pictures in and lost them.
@pytest.mark.both_databases
def test_files_whose_rows_may_have_been_committed_stay(
    services: Services,
    account: Account,
    make_upload: Any,
    break_commits: Callable[..., None],
    stored_keys: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    break_commits(1, hold=True)
    with pytest.raises(Unavailable):
        images.submit(services, account, make_upload(), UpscaleOptions())
    ((image,), total) = images.list_page(services, account, None, 1, 15)
    assert total == 1
    assert stored_keys() == [image.original_key]
    assert f"commit_uncertain possibly_unused_keys={image.original_key}" in caplog.text


# The store fails too, just when the file is to be taken back: the client still hears what was the matter.
def test_a_file_that_cannot_be_taken_back_does_not_hide_the_reason(
    make_services: Any,
    make_account: Any,
    make_upload: Any,
    store: LocalFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class StoreThatKeeps:
        put = staticmethod(store.put)

        def delete(self, key: str) -> None:
            raise Unavailable("The store is gone.")

    services = make_services(store=StoreThatKeeps())
    account = make_account("free")
    for _ in range(2):
        images.submit(services, account, make_upload(), UpscaleOptions())
    with pytest.raises(QuotaExceeded):
        images.submit(services, account, make_upload(), UpscaleOptions())
    assert "file_not_deleted" in caplog.text


# --- what is wrong with a submission


def test_everything_wrong_is_told_at_once_with_what_was_known_before(
    services: Services, account: Account, nothing_stored: Callable[[Account], None]
) -> None:
    no_picture = Upload("photo.png", io.BytesIO(b"no picture"), 10)
    known = FieldProblem("scale_facter", "unknown")
    assert problems_of(
        services, account, no_picture, UpscaleOptions(scale_factor=2, target_width=5), known
    ) == [
        ("scale_facter", "unknown"),
        ("image", "picture"),
        ("scale_factor", "excluded_by_target"),
    ]
    nothing_stored(account)


def test_a_problem_known_before_refuses_a_submission_that_is_otherwise_right(
    services: Services, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    known = FieldProblem("is_admin", "unknown")
    assert problems_of(services, account, make_upload(), UpscaleOptions(), known) == [("is_admin", "unknown")]
    nothing_stored(account)


def test_without_a_file_only_what_the_contract_said_is_said(services: Services, account: Account) -> None:
    known = FieldProblem("image", "required")
    assert problems_of(services, account, None, UpscaleOptions(target_width=5), known) == [
        ("image", "required")
    ]


# Nothing was sent, as far as the rules can see, but not because the caller is content with the default:
# no error may stand on a factor that nobody sent.
@pytest.mark.parametrize("field", ["scale_factor", "target_width", "target_height"])
def test_a_malformed_size_is_not_taken_for_the_default(
    services: Services, account: Account, make_upload: Any, field: str
) -> None:
    known = FieldProblem(field, "integer")
    upload = make_upload(size=(9000, 10))
    assert problems_of(services, account, upload, UpscaleOptions(), known) == [(field, "integer")]
    assert problems_of(services, account, upload, UpscaleOptions()) == [("scale_factor", "result_side")]


def test_a_model_that_is_offered_is_kept_with_the_image(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image]
) -> None:
    services = make_services(policy=Policy(model_choices={"fast": "a-model", "photo": "another"}))
    for word in ("photo", None):
        image = images.submit(services, account, make_upload(), UpscaleOptions(model=word))
        assert image.model_choice == read_image(image.id).model_choice == word


def test_a_model_that_is_not_offered_is_refused_with_those_that_are(
    make_services: Any, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    for choices, offered in (({}, "auto"), ({"fast": "a-model", "photo": "another"}, "auto, fast, photo")):
        services = make_services(policy=Policy(model_choices=choices))
        with pytest.raises(InvalidFields) as caught:
            images.submit(services, account, make_upload(), UpscaleOptions(model="anime"))
        assert caught.value.problems == (FieldProblem("model", "offered", {"offered": offered}),)
    nothing_stored(account)


def test_a_wrong_model_is_told_beside_a_wrong_size(
    services: Services, account: Account, make_upload: Any
) -> None:
    both = UpscaleOptions(scale_factor=2, target_width=9, model="fast")
    assert problems_of(services, account, make_upload(), both) == [
        ("model", "offered"),
        ("scale_factor", "excluded_by_target"),
    ]
    # Who asked for no size and for a model that there is not asked for the default size all the same.
    upload, unknown = make_upload(size=(9000, 10)), FieldProblem("model", "one_of")
    assert problems_of(services, account, upload, UpscaleOptions(), unknown) == [
        ("model", "one_of"),
        ("scale_factor", "result_side"),
    ]
    assert problems_of(
        services, account, upload, UpscaleOptions(model="fast"), FieldProblem("target_width", "integer")
    ) == [
        ("target_width", "integer"),
        ("model", "offered"),
    ]


def test_a_file_of_exactly_the_largest_size_passes(
    make_services: Any, account: Account, make_upload: Any
) -> None:
    upload = make_upload(padding=5000)
    exact = make_services(policy=Policy(max_upload_bytes=upload.bytes))
    assert images.submit(exact, account, upload, UpscaleOptions()).original_bytes == upload.bytes


def test_a_file_one_byte_larger_is_refused_without_being_read(make_services: Any, account: Account) -> None:
    class Unreadable(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("Nobody asked for it.")

    services = make_services(policy=Policy(max_upload_bytes=10 * 1024))
    with pytest.raises(InvalidFields) as caught:
        images.submit(services, account, Upload("photo.png", Unreadable(), 10 * 1024 + 1), UpscaleOptions())
    assert caught.value.problems == (FieldProblem("image", "max_kilobytes", {"maximum": 10}),)


def test_a_picture_of_exactly_the_most_pixels_passes(
    make_services: Any, account: Account, make_upload: Any
) -> None:
    services = make_services(policy=Policy(max_input_pixels=100))
    assert images.submit(services, account, make_upload(size=(20, 5)), UpscaleOptions()).original_size == (
        20,
        5,
    )
    with pytest.raises(InvalidFields) as caught:
        images.submit(services, account, make_upload(size=(101, 1)), UpscaleOptions())
    assert caught.value.problems == (FieldProblem("image", "max_pixels", {"maximum": 100}),)


def test_forty_megapixels_are_the_most_by_default(
    services: Services, account: Account, make_upload: Any
) -> None:
    options = UpscaleOptions(target_width=8001)
    assert images.submit(services, account, make_upload(size=(8000, 5000)), options).id
    assert problems_of(services, account, make_upload(size=(8000, 5001)), options) == [
        ("image", "max_pixels")
    ]


@pytest.mark.parametrize(
    ("image_format", "further", "rule"),
    [
        (ImageFormat.GIF, 199, None),
        (ImageFormat.GIF, 200, "max_frames"),
        (ImageFormat.PNG, 200, "max_frames"),
        (ImageFormat.WEBP, 200, "max_frames"),
        (ImageFormat.TIFF, 49, None),
        (ImageFormat.TIFF, 50, "max_pages"),
    ],
)
def test_frames_and_pages_have_a_limit(
    make_services: Any,
    account: Account,
    make_upload: Any,
    image_format: ImageFormat,
    further: int,
    rule: str | None,
) -> None:
    facts = ImageFacts(image_format, Size(8, 6), (Size(8, 6),) * further)
    services = make_services(probe=lambda _content: facts)
    if rule is None:
        assert images.submit(services, account, make_upload(), UpscaleOptions()).original_size == (8, 6)
    else:
        assert problems_of(services, account, make_upload(), UpscaleOptions()) == [("image", rule)]


def test_the_pixels_of_all_frames_count_together(
    make_services: Any, account: Account, make_upload: Any
) -> None:
    facts = ImageFacts(ImageFormat.TIFF, Size(10, 5), (Size(10, 4), Size(2, 5)))
    services = make_services(
        probe=lambda _content: facts, policy=Policy(max_input_pixels=100, result_caps=Caps(max_pixels=800))
    )
    assert images.submit(services, account, make_upload(), UpscaleOptions()).id
    assert problems_of(services, account, make_upload(), UpscaleOptions(scale_factor=3)) == [
        ("scale_factor", "result_pixels")
    ]
    fewer = replace(services, policy=replace(services.policy, max_input_pixels=99))
    assert problems_of(fewer, account, make_upload(), UpscaleOptions()) == [("image", "max_pixels")]


def test_the_cap_of_the_result_is_the_formats_own(
    services: Services, account: Account, make_upload: Any
) -> None:
    upload = {
        image_format: make_upload(image_format=image_format, size=(8192, 1))
        for image_format in (ImageFormat.PNG, ImageFormat.WEBP)
    }
    assert images.submit(services, account, upload[ImageFormat.PNG], UpscaleOptions()).id
    assert problems_of(services, account, upload[ImageFormat.WEBP], UpscaleOptions()) == [
        ("scale_factor", "result_side")
    ]


def test_the_cap_of_the_result_is_the_operators(
    make_services: Any, account: Account, make_upload: Any
) -> None:
    services = make_services(policy=Policy(result_caps=Caps(max_pixels=100)))
    assert problems_of(services, account, make_upload(size=(6, 5)), UpscaleOptions()) == [
        ("scale_factor", "result_pixels")
    ]


def test_the_plan_decides_how_far_a_picture_is_enlarged(
    make_services: Any, plans: Any, make_account: Any, make_upload: Any
) -> None:
    small = type(plans)([replace(plan, max_scale=2) for plan in plans])
    services, account = make_services(plans=small), make_account("starter")
    assert problems_of(services, account, make_upload(), UpscaleOptions(scale_factor=3)) == [
        ("scale_factor", "within_plan_scale")
    ]
    assert images.submit(services, account, make_upload(), UpscaleOptions(scale_factor=2)).id


# --- looking


def test_an_image_is_read_by_its_owner(services: Services, account: Account, submit_image: Any) -> None:
    image = submit_image()
    assert images.get(services, account, image.id) == image


# Told apart by nothing: whoever tries ids learns nothing of other people.
@pytest.mark.parametrize("operation", [images.get, images.download, images.delete])
def test_somebody_elses_image_is_as_unknown_as_one_that_does_not_exist(
    operation: Any,
    services: Services,
    make_account: Any,
    submit_image: Any,
    read_image: Callable[[int], Image],
) -> None:
    image, stranger = submit_image(), make_account()
    refusals = []
    for image_id in (image.id, 4711):
        with pytest.raises(NotFound) as caught:
            operation(services, stranger, image_id)
        refusals.append(caught.value.args)
    assert refusals[0] == refusals[1]
    assert read_image(image.id) == image


def test_a_list_has_the_newest_first_and_the_higher_id_first_among_equals(
    services: Services, account: Account, submit_image: Any, clock: Any
) -> None:
    made = []
    for step in (0, 1, 0, 0, -3, 2):
        clock.advance(timedelta(seconds=step))
        made.append(submit_image())
    listed = images.list_page(services, account, None, 1, 100)
    expected = sorted(made, key=lambda image: (image.created_at, image.id), reverse=True)
    assert [image.id for image in listed.images] == [image.id for image in expected]
    assert listed.total == 6


def test_pages_follow_each_other_without_gap_or_overlap(
    services: Services, account: Account, submit_image: Any
) -> None:
    newest_first = [submit_image().id for _ in range(7)][::-1]
    pages = [images.list_page(services, account, None, page, 3) for page in (1, 2, 3)]
    assert [[image.id for image in page.images] for page in pages] == [
        newest_first[:3], newest_first[3:6], newest_first[6:],
    ]  # fmt: skip
    assert {page.total for page in pages} == {7}


# The last is the largest that the contract lets through: its offset must be one that a database takes.
@pytest.mark.parametrize("page", [2, 3, 10**6, 2**53 - 1])
def test_past_the_end_a_page_is_empty_and_still_counts_all(
    services: Services, account: Account, submit_image: Any, page: int
) -> None:
    submit_image()
    assert images.list_page(services, account, None, page, 100) == ([], 1)


def test_a_list_shows_only_the_accounts_own_and_only_the_wanted_status(
    services: Services, account: Account, make_account: Any, submit_image: Any, make_result: Any
) -> None:
    pending, processing, completed, failed = (submit_image() for _ in range(4))
    jobs.claim(services, processing.id)
    jobs.complete(services, claimed := jobs.claim(services, completed.id), make_result(claimed))
    jobs.fail(services, jobs.claim(services, failed.id), "No.", refund=False)

    def listed(status: Status | None, account: Account = account) -> list[int]:
        page = images.list_page(services, account, status, 1, 100)
        assert page.total == len(page.images)
        return [image.id for image in page.images]

    assert listed(Status.PENDING) == [pending.id]
    assert listed(Status.PROCESSING) == [processing.id]
    assert listed(Status.COMPLETED) == [completed.id]
    assert listed(Status.FAILED) == [failed.id]
    assert listed(None) == [failed.id, completed.id, processing.id, pending.id]
    assert listed(None, make_account()) == []


# --- downloading


def test_a_completed_image_downloads_its_result_under_the_clients_name_for_an_hour(
    services: Services, account: Account, submit_image: Any, make_result: Any, store: LocalFiles, clock: Any
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    result: Result = make_result(claimed)
    jobs.complete(services, claimed, result)
    url, filename = images.download(services, account, claimed.id)
    assert filename == "photo.png"
    signed = url.removeprefix("/api/files/")
    clock.advance(services.policy.download_link_lifetime - timedelta(seconds=1))
    path, named = store.open_signed(signed, clock.now())
    assert named == "photo.png"
    with services.store.open(result.key) as stored:
        assert path.read_bytes() == stored.read()


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING, Status.FAILED])
def test_what_is_not_completed_says_in_which_state_it_is(
    services: Services, account: Account, submit_image: Any, status: Status
) -> None:
    image = submit_image()
    if status is not Status.PENDING:
        claimed = jobs.claim(services, image.id)
        if status is Status.FAILED:
            jobs.fail(services, claimed, "No.", refund=False)
    with pytest.raises(NotDownloadable) as caught:
        images.download(services, account, image.id)
    assert caught.value.status == status.value


# --- deleting


def test_deleting_a_pending_image_gives_its_quota_back(
    services: Services,
    account: Account,
    submit_image: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
    read_image: Callable[[int], Image | None],
) -> None:
    image = submit_image()
    images.delete(services, account, image.id)
    assert read_image(image.id) is None
    assert stored_keys() == []
    assert used(account) == 0
    with pytest.raises(NotClaimable):
        jobs.claim(services, image.id)


# Whatever has begun is paid for: else one could have pictures for nothing, by deleting each in time.
@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED, Status.FAILED])
def test_deleting_an_image_that_was_begun_gives_nothing_back(
    services: Services,
    account: Account,
    submit_image: Any,
    make_result: Any,
    status: Status,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    if status is Status.COMPLETED:
        jobs.complete(services, claimed, make_result(claimed))
    if status is Status.FAILED:
        jobs.fail(services, claimed, "No.", refund=False)
    images.delete(services, account, claimed.id)
    assert stored_keys() == []
    assert used(account) == 1
    with pytest.raises(NotFound):
        images.get(services, account, claimed.id)


# Handed back it waits like a pending one, but it was begun, and status never goes back.
def test_deleting_an_image_that_was_handed_back_gives_nothing_back(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    jobs.hand_back(services, claimed)
    images.delete(services, account, claimed.id)
    assert used(account) == 1


def test_a_failed_image_with_its_quota_back_gives_no_more(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    submit_image()
    jobs.fail(services, claimed, "No.", refund=True)
    images.delete(services, account, claimed.id)
    assert used(account) == 1


def test_the_worker_of_a_deleted_image_cannot_bring_it_back(
    services: Services, account: Account, submit_image: Any, make_result: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    images.delete(services, account, claimed.id)
    assert not jobs.complete(services, claimed, make_result(claimed))
    assert not jobs.fail(services, claimed, "No.", refund=True)
    assert not jobs.lose(services, claimed)
    assert used(account) == 1


def test_an_image_is_deleted_once(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    image = submit_image()
    submit_image()
    images.delete(services, account, image.id)
    with pytest.raises(NotFound):
        images.delete(services, account, image.id)
    assert used(account) == 1


# The account sees it gone, which is what counts; the file is a matter of the sweep.
def test_an_image_is_gone_even_if_its_file_cannot_be_deleted(
    make_services: Any, account: Account, submit_image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class StuckStore:
        def delete(self, key: str) -> None:
            raise Unavailable("The store is gone.")

    image = submit_image()
    services = make_services(store=StuckStore())
    images.delete(services, account, image.id)
    with pytest.raises(NotFound):
        images.get(services, account, image.id)
    assert image.original_key in caplog.text


# --- names of files


def test_the_cleaned_name_is_the_one_that_is_kept(
    services: Services, account: Account, make_upload: Any
) -> None:
    image = images.submit(services, account, make_upload("..\\evil\r\nname.png"), UpscaleOptions())
    assert images.get(services, account, image.id).filename == "evilname.png"
