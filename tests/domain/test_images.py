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
    services: Services,
    account: Account,
    upload: Upload | None,
    options: UpscaleOptions,
    *schema_problems: FieldProblem,
) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFields) as caught:
        images.submit(services, account, upload, options, schema_problems)
    return [(problem.field, problem.rule) for problem in caught.value.problems]


@pytest.fixture
def nothing_stored(
    database: Any, stored_keys: Callable[[], list[str]], queue: Any, used: Callable[[Account], int]
) -> Callable[[Account], None]:
    """Provide a check that an account has no row, no file and no used quota, and that no worker was notified."""

    def expect_nothing_stored(account: Account) -> None:
        with database.reading() as work:
            assert work.images.page(account.id, None, limit=1, offset=0) == ([], 0)
        assert stored_keys() == []
        assert used(account) == 0
        assert queue.notified == []

    return expect_nothing_stored


# --- submit


def test_submitted_image_is_pending_with_all_its_facts(
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


# The client's file name does not affect the key; the format determines its extension.
def test_original_is_stored_unchanged_under_a_random_key(
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


def test_same_file_twice_creates_two_images(services: Services, account: Account, make_upload: Any) -> None:
    first, second = (images.submit(services, account, make_upload(), UpscaleOptions()) for _ in range(2))
    assert second.id > first.id
    assert second.original_key != first.original_key


def test_requested_target_is_stored(services: Services, account: Account, make_upload: Any) -> None:
    image = images.submit(services, account, make_upload(size=(100, 50)), UpscaleOptions(target_height=101))
    assert image.sizing == Sizing(target_height=101)


# Another order would lose images or reserve quota for nothing: the file comes before the quota, the quota before the
# row, and the commit before the message.
def test_submit_order_is_file_quota_commit_message(
    make_services: Any, account: Account, make_upload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def record(owner: Any, method: str, name: str) -> None:
        original = getattr(owner, method)

        def recording(*arguments: Any, **options: Any) -> Any:
            events.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, recording)

    services = make_services()
    record(services.store, "put", "file")
    record(services.queue, "notify", "message")
    record(images.quota, "reserve", "quota")
    record(UnitOfWork, "commit", "commit")
    images.submit(services, account, make_upload(), UpscaleOptions())
    assert events == ["file", "quota", "commit", "message"]


def test_worker_is_notified_after_the_row_exists(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image | None]
) -> None:
    found = []

    class ReadingQueue:
        def notify(self, image_id: int) -> bool:
            found.append(read_image(image_id))
            return True

    image = images.submit(make_services(queue=ReadingQueue()), account, make_upload(), UpscaleOptions())
    assert found == [image]


def test_submit_succeeds_while_the_queue_is_down(
    services: Services, account: Account, make_upload: Any, queue: Any
) -> None:
    queue.broken = True
    image = images.submit(services, account, make_upload(), UpscaleOptions())
    assert images.get(services, account, image.id).status is Status.PENDING


def test_submit_over_the_quota_stores_nothing(
    services: Services,
    make_account: Any,
    make_upload: Any,
    stored_keys: Callable[[], list[str]],
    used: Callable[[Account], int],
    queue: Any,
) -> None:
    account = make_account("free")
    accepted = [images.submit(services, account, make_upload(), UpscaleOptions()) for _ in range(2)]
    queue.drain()
    with pytest.raises(QuotaExceeded):
        images.submit(services, account, make_upload(), UpscaleOptions())
    assert stored_keys() == sorted(image.original_key for image in accepted)
    assert images.list_page(services, account, None, 1, 10).total == 2
    assert used(account) == 2
    assert queue.notified == []


# The quota is checked only for a request without other errors.
def test_invalid_fields_are_reported_before_the_quota(
    services: Services, make_account: Any, make_upload: Any
) -> None:
    account = make_account("free")
    for _ in range(2):
        images.submit(services, account, make_upload(), UpscaleOptions())
    wrong = problems_of(services, account, make_upload(), UpscaleOptions(target_width=1))
    assert wrong == [("target_width", "larger_than_original")]


def test_store_outage_leaves_no_row_and_no_used_quota(
    make_services: Any, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    class FullStore:
        def put(self, key: str, content: BinaryIO) -> int:
            raise Unavailable("No space left.")

    with pytest.raises(Unavailable):
        images.submit(make_services(store=FullStore()), account, make_upload(), UpscaleOptions())
    nothing_stored(account)


def test_database_outage_leaves_no_file(
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


# The rows may exist: deleting their files could lose accepted images.
@pytest.mark.both_databases
def test_files_stay_when_the_commit_is_uncertain(
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


# The store also fails to delete the file: the client must still get the first error.
def test_failed_cleanup_does_not_hide_the_first_error(
    make_services: Any,
    make_account: Any,
    make_upload: Any,
    store: LocalFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class UndeletingStore:
        put = staticmethod(store.put)

        def delete(self, key: str) -> None:
            raise Unavailable("The store cannot be reached.")

    services = make_services(store=UndeletingStore())
    account = make_account("free")
    for _ in range(2):
        images.submit(services, account, make_upload(), UpscaleOptions())
    with pytest.raises(QuotaExceeded):
        images.submit(services, account, make_upload(), UpscaleOptions())
    assert "file_not_deleted" in caplog.text


# --- invalid submissions


def test_submit_reports_all_problems_together(
    services: Services, account: Account, nothing_stored: Callable[[Account], None]
) -> None:
    invalid = Upload("photo.png", io.BytesIO(b"not image!"), 10)
    problem = FieldProblem("scale_facter", "unknown")
    assert problems_of(
        services, account, invalid, UpscaleOptions(scale_factor=2, target_width=5), problem
    ) == [
        ("scale_facter", "unknown"),
        ("image", "image_file"),
        ("scale_factor", "excluded_by_target"),
    ]
    nothing_stored(account)


def test_schema_problem_alone_refuses_a_submission(
    services: Services, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    problem = FieldProblem("is_admin", "unknown")
    assert problems_of(services, account, make_upload(), UpscaleOptions(), problem) == [
        ("is_admin", "unknown")
    ]
    nothing_stored(account)


def test_missing_file_gives_no_further_error(services: Services, account: Account) -> None:
    problem = FieldProblem("image", "required")
    assert problems_of(services, account, None, UpscaleOptions(target_width=5), problem) == [
        ("image", "required")
    ]


# The malformed option is missing in the options, but the default factor was not requested: an error of that factor
# would be misleading.
@pytest.mark.parametrize("field", ["scale_factor", "target_width", "target_height"])
def test_malformed_size_is_not_replaced_by_the_default(
    services: Services, account: Account, make_upload: Any, field: str
) -> None:
    problem = FieldProblem(field, "integer")
    upload = make_upload(size=(9000, 10))
    assert problems_of(services, account, upload, UpscaleOptions(), problem) == [(field, "integer")]
    assert problems_of(services, account, upload, UpscaleOptions()) == [("scale_factor", "result_side")]


def test_offered_model_is_stored_with_the_image(
    make_services: Any, account: Account, make_upload: Any, read_image: Callable[[int], Image]
) -> None:
    services = make_services(policy=Policy(model_choices={"fast": "a-model", "photo": "another"}))
    for word in ("photo", None):
        image = images.submit(services, account, make_upload(), UpscaleOptions(model=word))
        assert image.model_choice == read_image(image.id).model_choice == word


def test_unknown_model_is_refused_with_the_offered_ones(
    make_services: Any, account: Account, make_upload: Any, nothing_stored: Callable[[Account], None]
) -> None:
    for choices, offered in (({}, "auto"), ({"fast": "a-model", "photo": "another"}, "auto, fast, photo")):
        services = make_services(policy=Policy(model_choices=choices))
        with pytest.raises(InvalidFields) as caught:
            images.submit(services, account, make_upload(), UpscaleOptions(model="anime"))
        assert caught.value.problems == (FieldProblem("model", "offered", {"offered": offered}),)
    nothing_stored(account)


def test_model_and_size_problems_are_reported_together(
    services: Services, account: Account, make_upload: Any
) -> None:
    both = UpscaleOptions(scale_factor=2, target_width=9, model="fast")
    assert problems_of(services, account, make_upload(), both) == [
        ("model", "offered"),
        ("scale_factor", "excluded_by_target"),
    ]
    # A request with an unknown model and without a size has requested the default size.
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


def test_file_of_the_maximum_size_is_accepted(make_services: Any, account: Account, make_upload: Any) -> None:
    upload = make_upload(padding=5000)
    exact = make_services(policy=Policy(max_upload_bytes=upload.bytes))
    assert images.submit(exact, account, upload, UpscaleOptions()).original_bytes == upload.bytes


def test_too_large_file_is_refused_without_reading_it(make_services: Any, account: Account) -> None:
    class Unreadable(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("The file must not be read.")

    services = make_services(policy=Policy(max_upload_bytes=10 * 1024))
    with pytest.raises(InvalidFields) as caught:
        images.submit(services, account, Upload("photo.png", Unreadable(), 10 * 1024 + 1), UpscaleOptions())
    assert caught.value.problems == (FieldProblem("image", "max_kilobytes", {"maximum": 10}),)


def test_image_of_the_maximum_pixels_is_accepted(
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


def test_default_maximum_is_40_megapixels(services: Services, account: Account, make_upload: Any) -> None:
    options = UpscaleOptions(target_width=8001)
    assert images.submit(services, account, make_upload(size=(8000, 5000)), options).id
    assert problems_of(services, account, make_upload(size=(8000, 5001)), options) == [
        ("image", "max_pixels")
    ]


@pytest.mark.parametrize(
    ("image_format", "more_frames", "rule"),
    [
        (ImageFormat.GIF, 199, None),
        (ImageFormat.GIF, 200, "max_frames"),
        (ImageFormat.PNG, 200, "max_frames"),
        (ImageFormat.WEBP, 200, "max_frames"),
        (ImageFormat.TIFF, 49, None),
        (ImageFormat.TIFF, 50, "max_pages"),
    ],
)
def test_number_of_frames_and_pages_is_limited(
    make_services: Any,
    account: Account,
    make_upload: Any,
    image_format: ImageFormat,
    more_frames: int,
    rule: str | None,
) -> None:
    facts = ImageFacts(image_format, Size(8, 6), (Size(8, 6),) * more_frames)
    services = make_services(probe=lambda _content: facts)
    if rule is None:
        assert images.submit(services, account, make_upload(), UpscaleOptions()).original_size == (8, 6)
    else:
        assert problems_of(services, account, make_upload(), UpscaleOptions()) == [("image", rule)]


def test_pixels_of_all_frames_count_together(make_services: Any, account: Account, make_upload: Any) -> None:
    facts = ImageFacts(ImageFormat.TIFF, Size(10, 5), (Size(10, 4), Size(2, 5)))
    services = make_services(
        probe=lambda _content: facts, policy=Policy(max_input_pixels=100, result_caps=Caps(max_pixels=800))
    )
    assert images.submit(services, account, make_upload(), UpscaleOptions()).id
    assert problems_of(services, account, make_upload(), UpscaleOptions(scale_factor=3)) == [
        ("scale_factor", "result_pixels")
    ]
    smaller = replace(services, policy=replace(services.policy, max_input_pixels=99))
    assert problems_of(smaller, account, make_upload(), UpscaleOptions()) == [("image", "max_pixels")]


def test_result_cap_depends_on_the_format(services: Services, account: Account, make_upload: Any) -> None:
    upload = {
        image_format: make_upload(image_format=image_format, size=(8192, 1))
        for image_format in (ImageFormat.PNG, ImageFormat.WEBP)
    }
    assert images.submit(services, account, upload[ImageFormat.PNG], UpscaleOptions()).id
    assert problems_of(services, account, upload[ImageFormat.WEBP], UpscaleOptions()) == [
        ("scale_factor", "result_side")
    ]


def test_result_cap_is_configurable(make_services: Any, account: Account, make_upload: Any) -> None:
    services = make_services(policy=Policy(result_caps=Caps(max_pixels=100)))
    assert problems_of(services, account, make_upload(size=(6, 5)), UpscaleOptions()) == [
        ("scale_factor", "result_pixels")
    ]


def test_plan_limits_the_scale_factor(
    make_services: Any, plans: Any, make_account: Any, make_upload: Any
) -> None:
    small = type(plans)([replace(plan, max_scale=2) for plan in plans])
    services, account = make_services(plans=small), make_account("starter")
    assert problems_of(services, account, make_upload(), UpscaleOptions(scale_factor=3)) == [
        ("scale_factor", "within_plan_scale")
    ]
    assert images.submit(services, account, make_upload(), UpscaleOptions(scale_factor=2)).id


# --- read and list


def test_owner_reads_the_image(services: Services, account: Account, submit_image: Any) -> None:
    image = submit_image()
    assert images.get(services, account, image.id) == image


# The errors are equal, so that trying ids reveals nothing about other accounts.
@pytest.mark.parametrize("operation", [images.get, images.download, images.delete])
def test_other_accounts_image_looks_like_an_unknown_one(
    operation: Any,
    services: Services,
    make_account: Any,
    submit_image: Any,
    read_image: Callable[[int], Image],
) -> None:
    image, other = submit_image(), make_account()
    errors = []
    for image_id in (image.id, 4711):
        with pytest.raises(NotFound) as caught:
            operation(services, other, image_id)
        errors.append(caught.value.args)
    assert errors[0] == errors[1]
    assert read_image(image.id) == image


def test_list_is_ordered_by_time_and_id_descending(
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


def test_pages_have_no_gap_and_no_overlap(services: Services, account: Account, submit_image: Any) -> None:
    newest_first = [submit_image().id for _ in range(7)][::-1]
    pages = [images.list_page(services, account, None, page, 3) for page in (1, 2, 3)]
    assert [[image.id for image in page.images] for page in pages] == [
        newest_first[:3], newest_first[3:6], newest_first[6:],
    ]  # fmt: skip
    assert {page.total for page in pages} == {7}


# The last page number is the largest that the contract accepts: its offset must fit in the database's integer.
@pytest.mark.parametrize("page", [2, 3, 10**6, 2**53 - 1])
def test_page_past_the_end_is_empty_with_the_total(
    services: Services, account: Account, submit_image: Any, page: int
) -> None:
    submit_image()
    assert images.list_page(services, account, None, page, 100) == ([], 1)


def test_list_is_filtered_by_account_and_status(
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


# --- download


def test_result_is_downloadable_for_an_hour(
    services: Services, account: Account, submit_image: Any, make_result: Any, store: LocalFiles, clock: Any
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    result: Result = make_result(claimed)
    jobs.complete(services, claimed, result)
    url, filename = images.download(services, account, claimed.id)
    assert filename == "photo.png"
    signed = url.removeprefix("/api/files/")
    clock.advance(services.policy.download_link_lifetime - timedelta(seconds=1))
    path, name = store.open_signed(signed, clock.now())
    assert name == "photo.png"
    with services.store.open(result.key) as stored:
        assert path.read_bytes() == stored.read()


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING, Status.FAILED])
def test_download_error_contains_the_status(
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


# --- delete


def test_deleting_a_pending_image_refunds_its_quota(
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


# Otherwise clients could get results for free by deleting each image in time.
@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED, Status.FAILED])
def test_deleting_a_claimed_image_refunds_no_quota(
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


# A released image is claimable like a pending one, but its processing has started.
def test_deleting_a_released_image_refunds_no_quota(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    jobs.release_claim(services, claimed)
    images.delete(services, account, claimed.id)
    assert used(account) == 1


def test_deleting_a_refunded_image_refunds_no_quota(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    submit_image()
    jobs.fail(services, claimed, "No.", refund=True)
    images.delete(services, account, claimed.id)
    assert used(account) == 1


def test_worker_cannot_change_a_deleted_image(
    services: Services, account: Account, submit_image: Any, make_result: Any, used: Callable[[Account], int]
) -> None:
    claimed = jobs.claim(services, submit_image().id)
    images.delete(services, account, claimed.id)
    assert not jobs.complete(services, claimed, make_result(claimed))
    assert not jobs.fail(services, claimed, "No.", refund=True)
    assert not jobs.record_lost_attempt(services, claimed)
    assert used(account) == 1


def test_second_deletion_raises_not_found(
    services: Services, account: Account, submit_image: Any, used: Callable[[Account], int]
) -> None:
    image = submit_image()
    submit_image()
    images.delete(services, account, image.id)
    with pytest.raises(NotFound):
        images.delete(services, account, image.id)
    assert used(account) == 1


# The row decides what the account sees; a file that stays is logged.
def test_image_is_deleted_if_its_file_cannot_be(
    make_services: Any, account: Account, submit_image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class StuckStore:
        def delete(self, key: str) -> None:
            raise Unavailable("The store cannot be reached.")

    image = submit_image()
    services = make_services(store=StuckStore())
    images.delete(services, account, image.id)
    with pytest.raises(NotFound):
        images.get(services, account, image.id)
    assert image.original_key in caplog.text


# --- file names


def test_cleaned_file_name_is_stored(services: Services, account: Account, make_upload: Any) -> None:
    image = images.submit(services, account, make_upload("..\\evil\r\nname.png"), UpscaleOptions())
    assert images.get(services, account, image.id).filename == "evilname.png"
