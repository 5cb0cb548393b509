"""Every possible end of an attempt, with the real engine and the real database."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image as PillowImage

from domain import images, jobs, uploads
from domain.errors import Unavailable
from domain.formats import ImageFormat
from domain.job_states import Status
from domain.ports import ImageFacts
from domain.records import Account, Image
from domain.services import Policy, Services
from domain.sizing import Size, Sizing
from uprez.settings import load_settings
from workers import completion, engine_child
from workers.engine.errors import EngineFaulty, EngineLost, EngineUnusable, NoUsableDevice
from workers.engine.protocol import EngineResult
from workers.engine_child import EngineChild, EngineJob, EngineOptions, engine_report
from workers.upscaling import Upscaling


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineChild]:
    with EngineChild(EngineOptions(device="cpu", tile_side=16)) as child:
        yield child


@pytest.fixture
def real_services(make_services: Callable[..., Services], crop: PillowImage.Image) -> Services:
    return make_services(probe=lambda _content: ImageFacts(ImageFormat.PNG, Size(*crop.size)))


@pytest.fixture
def png(crop: PillowImage.Image) -> bytes:
    content = io.BytesIO()
    crop.save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def submit(real_services: Services, account: Account) -> Callable[[bytes], Image]:
    def submit(content: bytes) -> Image:
        upload = uploads.Upload("photo.png", io.BytesIO(content), len(content))
        return images.submit(real_services, account, upload, uploads.UpscaleOptions())

    return submit


class CallCounter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


@pytest.fixture
def ended() -> CallCounter:
    return CallCounter()


@pytest.fixture
def upscaling_with(real_services: Services, tmp_path: Path, ended: CallCounter) -> Callable[..., Upscaling]:
    return lambda *engines: Upscaling(real_services, engines, tmp_path / "work", ended)


class BrokenEngine:
    """An engine that raises this error in every job."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def upscale(self, *_: object, **__: object) -> None:
        raise self._error

    def close(self) -> None:
        pass


class InstantEngine:
    """An engine that returns a result at once; ``meanwhile`` runs during the job."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._meanwhile = meanwhile

    def upscale(self, job: EngineJob, **_: object) -> EngineResult:
        self._meanwhile()
        job.target.write_bytes(b"a result")
        return EngineResult(Size(48, 40), Size(96, 80), ImageFormat.PNG, "instant", "cpu", 0.0)

    def close(self) -> None:
        pass


class RecordingEngine(InstantEngine):
    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__(meanwhile)
        self.jobs: list[EngineJob] = []

    def upscale(self, job: EngineJob, **callbacks: object) -> EngineResult:
        self.jobs.append(job)
        return super().upscale(job, **callbacks)


def row(services: Services, image: Image) -> Image:
    with services.database.reading() as work:
        found = work.images.get(image.id)
    assert found is not None
    return found


def used(services: Services, account: Account) -> int:
    with services.database.reading() as work:
        return work.quota.used(account.id, row_month(services))


def row_month(services: Services) -> str:
    return services.clock.now().strftime("%Y-%m")


def test_image_is_completed_and_its_result_stored(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, engine: EngineChild, tmp_path: Path
) -> None:
    image = submit(png)

    upscaling_with(engine).upscale(image.id)

    done = row(real_services, image)
    assert (done.status, done.progress, done.job.attempt) == (Status.COMPLETED, 100, 1)
    assert done.result is not None
    assert done.result.size == Size(96, 80)
    assert (done.result.model, done.result.device) == ("realesr-animevideov3", "cpu")
    with real_services.store.open(done.result.key) as stored:
        content = stored.read()
    assert len(content) == done.result.bytes
    assert PillowImage.open(io.BytesIO(content)).size == (96, 80)
    assert list((tmp_path / "work").iterdir()) == []


def test_unreadable_image_fails_without_refund(
    real_services: Services,
    account: Account,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    engine: EngineChild,
) -> None:
    image = submit(png[: len(png) // 2])

    upscaling_with(engine).upscale(image.id)

    failed = row(real_services, image)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.endswith(".")
    assert used(real_services, account) == 1


def test_missing_original_fails_image_and_refunds_quota(
    real_services: Services,
    account: Account,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    engine: EngineChild,
) -> None:
    image = submit(png)
    real_services.store.delete(image.original_key)

    upscaling_with(engine).upscale(image.id)

    assert row(real_services, image).status is Status.FAILED
    assert used(real_services, account) == 0


def test_third_lost_attempt_fails_the_image(
    real_services: Services, account: Account, submit: Any, png: bytes, upscaling_with: Any, queue: Any
) -> None:
    image = submit(png)
    upscaling = upscaling_with(BrokenEngine(EngineLost("the engine ended unexpectedly")))
    queue.drain()

    attempts = 0
    while not row(real_services, image).status.is_terminal:
        upscaling.upscale(image.id)
        attempts += 1
        assert attempts <= 3

    failed = row(real_services, image)
    assert (attempts, failed.status, failed.error) == (3, Status.FAILED, jobs.LOST_MESSAGE)
    assert used(real_services, account) == 0
    assert queue.drain() == [image.id] * 3  # the last message changes nothing


def test_hang_costs_one_attempt(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_child, "STALL_FLOOR_SECONDS", 0.5)
    stopped: list[int | None] = []

    class Stopped(EngineChild):
        """An engine whose first child is stopped after two tiles."""

        def upscale(self, job: EngineJob, *, on_progress: Callable[[int, int], None], **others: Any) -> Any:
            def stop(done: int, total: int) -> None:
                on_progress(done, total)
                if done == 2 and not stopped:
                    assert self.pid is not None
                    stopped.append(self.pid)
                    os.kill(self.pid, signal.SIGSTOP)

            return super().upscale(job, on_progress=stop, **others)

    image = submit(png)
    with Stopped(EngineOptions(device="cpu", tile_side=16)) as engine:
        upscaling = upscaling_with(engine)
        upscaling.upscale(image.id)
        assert row(real_services, image).job.lost == 1

        upscaling.upscale(image.id)

        assert [engine.pid] != stopped
    done = row(real_services, image)
    assert (done.status, done.job.attempt) == (Status.COMPLETED, 2)


def test_unexpected_error_costs_one_attempt(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, engine: EngineChild
) -> None:
    class Strange(EngineLost):
        code = "strange"

    image = submit(png)
    upscaling_with(BrokenEngine(Strange())).upscale(image.id)
    assert row(real_services, image).job.lost == 1

    upscaling_with(engine).upscale(image.id)
    assert row(real_services, image).status is Status.COMPLETED


# A full disk of the server is no fault of the image and costs it no attempt.
@pytest.mark.parametrize("error", [Unavailable("the store is full"), OSError(28, "No space left on device")])
def test_server_outage_releases_the_image(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, queue: Any, error: Exception
) -> None:
    image = submit(png)
    queue.drain()

    upscaling_with(BrokenEngine(error)).upscale(image.id)

    waiting = row(real_services, image)
    assert (waiting.status, waiting.job.lost, waiting.job.lease_until) == (Status.PROCESSING, 0, None)
    assert queue.drain() == [image.id]


def test_worker_without_engine_releases_image_and_ends(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, ended: CallCounter, queue: Any
) -> None:
    image = submit(png)
    queue.drain()
    upscaling = upscaling_with(BrokenEngine(EngineUnusable("The card is gone.")))

    upscaling.upscale(image.id)

    waiting = row(real_services, image)
    assert (waiting.status, waiting.job.lost, waiting.job.lease_until) == (Status.PROCESSING, 0, None)
    assert ended.calls == 1
    assert str(upscaling.fatal_error) == "The card is gone."
    assert queue.drain() == [image.id]


def test_lost_engine_leaves_the_others_working(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, ended: CallCounter
) -> None:
    upscaling = upscaling_with(BrokenEngine(NoUsableDevice("The card is gone.")), InstantEngine())
    first, second = submit(png), submit(png)

    upscaling.upscale(first.id)
    waiting = row(real_services, first)
    assert (waiting.status, waiting.job.lost, waiting.job.lease_until) == (Status.PROCESSING, 0, None)
    upscaling.upscale(first.id)
    upscaling.upscale(second.id)

    assert [row(real_services, image).status for image in (first, second)] == [Status.COMPLETED] * 2
    assert (ended.calls, upscaling.fatal_error) == (0, None)


def test_faulty_engine_costs_an_attempt_and_is_removed(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, ended: CallCounter
) -> None:
    upscaling = upscaling_with(BrokenEngine(EngineFaulty("vulkan:0 returned black")), InstantEngine())
    images = [submit(png) for _ in range(3)]

    upscaling.upscale(images[0].id)
    for image in images:
        upscaling.upscale(image.id)

    done = [row(real_services, image) for image in images]
    assert [each.status for each in done] == [Status.COMPLETED] * 3
    assert [each.job.lost for each in done] == [1, 0, 0]
    assert ended.calls == 0


def test_reserve_completes_image_of_faulty_last_device(
    real_services: Services, submit: Any, png: bytes, tmp_path: Path, ended: CallCounter
) -> None:
    broken: Any = BrokenEngine(EngineFaulty("vulkan:0 returned black"))
    reserve: Any = InstantEngine()
    upscaling = Upscaling(real_services, [broken], tmp_path / "work", ended, reserve)
    image = submit(png)

    upscaling.upscale(image.id)
    upscaling.upscale(image.id)

    done = row(real_services, image)
    assert (done.status, done.job.attempt) == (Status.COMPLETED, 2)
    assert ended.calls == 0


def test_only_engine_is_kept_after_a_faulty_result(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, ended: CallCounter
) -> None:
    image = submit(png)
    upscaling = upscaling_with(BrokenEngine(EngineFaulty("cpu returned black")))

    upscaling.upscale(image.id)

    assert row(real_services, image).job.lost == 1
    assert (ended.calls, upscaling.fatal_error) == (0, None)


def test_lost_image_is_retried_on_another_engine(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any
) -> None:
    image = submit(png)
    upscaling = upscaling_with(BrokenEngine(EngineLost("the engine sent no message")), InstantEngine())

    upscaling.upscale(image.id)
    upscaling.upscale(image.id)

    done = row(real_services, image)
    assert (done.status, done.job.attempt, done.job.lost) == (Status.COMPLETED, 2, 1)


def test_stopping_worker_releases_its_image(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, engine: EngineChild, queue: Any
) -> None:
    image = submit(png)
    queue.drain()

    class Interrupted:
        def upscale(self, *arguments: Any, **callbacks: Any) -> Any:
            upscaling.stop()
            return engine.upscale(*arguments, **callbacks)

        def close(self) -> None:
            pass

    upscaling = upscaling_with(Interrupted())

    upscaling.upscale(image.id)

    waiting = row(real_services, image)
    assert (waiting.status, waiting.job.lost, waiting.job.lease_until) == (Status.PROCESSING, 0, None)
    assert queue.drain() == [image.id]


# A late message would only claim the row, wait for an engine and release the image.
@pytest.mark.parametrize("why", ["stop was called", "its engine is lost"])
def test_stopping_worker_starts_no_image(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, why: str
) -> None:
    upscaling = upscaling_with(BrokenEngine(EngineUnusable("The card is gone.")))
    if why == "stop was called":
        upscaling.stop()
    else:
        upscaling.upscale(submit(png).id)
    image = submit(png)

    upscaling.upscale(image.id)

    assert row(real_services, image) == image


# The result of a stale attempt must not be visible, and its file must be deleted.
def test_result_of_a_stale_attempt_is_deleted(
    real_services: Services,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    engine: EngineChild,
    clock: Any,
    stored_keys: Callable[[], list[str]],
) -> None:
    image = submit(png)

    class Slow:
        """An engine that loses its lease to another worker during the job."""

        def upscale(self, *arguments: Any, **callbacks: Any) -> Any:
            result = engine.upscale(*arguments, **callbacks)
            clock.advance(real_services.policy.lease * 2)
            assert jobs.claim(real_services, image.id).job.attempt == 2
            return result

        def close(self) -> None:
            pass

    upscaling_with(Slow()).upscale(image.id)

    current = row(real_services, image)
    assert (current.status, current.job.attempt, current.result) == (Status.PROCESSING, 2, None)
    assert stored_keys() == [image.original_key]


# The first response is lost although the row was written; the next try finds that it comes too late.
@pytest.mark.both_databases
@pytest.mark.parametrize("lost", [1, 3])
def test_committed_result_without_response_stays(
    real_services: Services,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    break_commits: Callable[..., None],
    stored_keys: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:
    monkeypatch.setattr(completion, "_RETRY_SECONDS", (0, 0, 0))
    image = submit(png)
    complete = jobs.complete
    tries = iter(range(lost))

    def complete_with_lost_response(*arguments: Any) -> bool:
        match next(tries, None):
            case 0:
                break_commits(1, hold=True)
            case int():
                raise Unavailable
        return complete(*arguments)

    monkeypatch.setattr(jobs, "complete", complete_with_lost_response)
    upscaling_with(InstantEngine()).upscale(image.id)

    done = row(real_services, image)
    assert done.result is not None
    assert stored_keys() == sorted([image.original_key, done.result.key])


@pytest.mark.both_databases
def test_uncommitted_result_is_deleted_and_image_released(
    real_services: Services,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    break_commits: Callable[..., None],
    stored_keys: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "_RETRY_SECONDS", (0, 0, 0))
    image = submit(png)

    upscaling_with(InstantEngine(lambda: break_commits(3, hold=False))).upscale(image.id)

    waiting = row(real_services, image)
    assert (waiting.status, waiting.job.lost, waiting.job.lease_until) == (Status.PROCESSING, 0, None)
    assert stored_keys() == [image.original_key]


def test_result_file_stays_if_database_is_unavailable(
    real_services: Services,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    stored_keys: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def writing() -> NoReturn:
        raise Unavailable

    monkeypatch.setattr(completion, "_RETRY_SECONDS", (0, 0, 0))
    image = submit(png)
    lose_the_database = partial(monkeypatch.setattr, real_services.database, "writing", writing)

    upscaling_with(InstantEngine(lose_the_database)).upscale(image.id)

    (original, result) = stored_keys()
    assert original == image.original_key
    assert f"result_file_kept image_id={image.id} key={result}" in caplog.text


def test_late_message_changes_nothing(
    real_services: Services, submit: Any, png: bytes, upscaling_with: Any, engine: EngineChild
) -> None:
    image = submit(png)
    upscaling = upscaling_with(engine)
    upscaling.upscale(image.id)
    done = row(real_services, image)

    upscaling.upscale(image.id)
    upscaling.upscale(image.id + 1)

    assert row(real_services, image) == done


# The operator's settings from end to end: the permitted model choices and their models.
@pytest.mark.parametrize(
    ("word", "offered_now", "model"),
    [
        ("fast", "photo=realesrgan-x4plus,fast=realesr-animevideov3", "realesr-animevideov3"),
        (None, "photo=realesrgan-x4plus,fast=realesr-animevideov3", None),
        # The current settings apply: another model for this choice, or none.
        ("fast", "fast=one-of-mine", "one-of-mine"),
        ("fast", "photo=realesrgan-x4plus", None),
    ],
)
def test_model_choice_maps_to_its_current_model(
    real_services: Services,
    account: Account,
    png: bytes,
    tmp_path: Path,
    ended: CallCounter,
    word: str | None,
    offered_now: str,
    model: str | None,
) -> None:
    api = replace(real_services, policy=load_settings(model="realesrgan-x4plus").policy())
    upload = uploads.Upload("photo.png", io.BytesIO(png), len(png))
    image = images.submit(api, account, upload, uploads.UpscaleOptions(model=word))
    engine = RecordingEngine()

    policy = load_settings(model="realesrgan-x4plus", model_choices=offered_now).policy()
    Upscaling(replace(real_services, policy=policy), [engine], tmp_path / "work", ended).upscale(image.id)

    assert [job.model for job in engine.jobs] == [model]
    done = row(real_services, image)
    assert (done.status, done.model_choice) == (Status.COMPLETED, word)


def test_lost_attempt_is_retried_with_the_same_model(
    real_services: Services, account: Account, png: bytes, tmp_path: Path, ended: CallCounter
) -> None:
    services = replace(real_services, policy=Policy(model_choices={"fast": "a-model"}))
    upload = uploads.Upload("photo.png", io.BytesIO(png), len(png))
    image = images.submit(services, account, upload, uploads.UpscaleOptions(model="fast"))

    def lose_the_first() -> None:
        if len(engine.jobs) == 1:
            raise EngineLost("the engine sent no message")

    engine = RecordingEngine(lose_the_first)
    worker = Upscaling(services, [engine], tmp_path / "work", ended)
    worker.upscale(image.id)
    worker.upscale(image.id)

    assert [job.model for job in engine.jobs] == ["a-model", "a-model"]
    assert row(services, image).status is Status.COMPLETED


def test_deleted_image_is_cancelled(
    real_services: Services,
    account: Account,
    submit: Any,
    png: bytes,
    upscaling_with: Any,
    engine: EngineChild,
    stored_keys: Callable[[], list[str]],
) -> None:
    image = submit(png)

    class Interrupted:
        def upscale(self, *arguments: Any, **callbacks: Any) -> Any:
            images.delete(real_services, account, image.id)
            return engine.upscale(*arguments, **callbacks)

        def close(self) -> None:
            pass

    upscaling_with(Interrupted()).upscale(image.id)

    assert stored_keys() == []
    assert used(real_services, account) == 1  # it had started


@pytest.mark.vulkan
def test_gpu_result_agrees_with_the_cpu(image_file: Path, tmp_path: Path, psnr: Callable[..., float]) -> None:

    found = [device.id for device in engine_report().devices if device.id != "cpu"]
    if not found:
        pytest.skip("no Vulkan device on this machine, not even a software one (Debian: mesa-vulkan-drivers)")
    results = {}
    for device in ["cpu", *found]:
        target = tmp_path / f"{device.replace(':', '-')}.png"
        with EngineChild(EngineOptions(device=device, model="realesr-animevideov3")) as child:
            done = child.upscale(
                EngineJob(image_file, target, Sizing(2)),
                on_progress=lambda _done, _total: None,
                keep_going=lambda: True,
            )
        assert done.device == device
        with PillowImage.open(target) as result:
            results[device] = result.copy()
    for device in found:
        assert psnr(results[device], results["cpu"]) > 45
