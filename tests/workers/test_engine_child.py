from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
from own_models import write_own_model
from PIL import Image

from domain.errors import InvalidImage
from domain.sizing import Size, Sizing
from workers import engine_child, engine_process
from workers.engine.errors import ManifestError, UnknownModel
from workers.engine.options import MetadataPolicy
from workers.engine_child import (
    STALL_CEILING_SECONDS,
    STALL_FACTOR,
    STALL_FLOOR_SECONDS,
    EngineCancelled,
    EngineChild,
    EngineFaulty,
    EngineJob,
    EngineLost,
    EngineOptions,
    EngineResult,
    ModelUnusable,
    stall_limit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS = EngineOptions(device="cpu", tile_side=16, tile_threads=2)
TIMEOUT_SECONDS = 60.0


@pytest.fixture
def child() -> Iterator[EngineChild]:
    with EngineChild(OPTIONS, stall_seconds=TIMEOUT_SECONDS) as child:
        yield child


@pytest.fixture
def job(image_file: Path, tmp_path: Path) -> EngineJob:
    return EngineJob(image_file, tmp_path / "result.png", Sizing(2))


@pytest.fixture
def long_job(coffee: Image.Image, tmp_path: Path) -> EngineJob:
    """Return a job of about a hundred tiles, so that it is still running when a test interrupts it."""
    coffee.save(tmp_path / "long.png")
    return EngineJob(tmp_path / "long.png", tmp_path / "long-result.png", Sizing(4))


def upscale(
    child: EngineChild,
    job: EngineJob,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    keep_going: Callable[[], bool] = lambda: True,
) -> EngineResult:
    return child.upscale(job, on_progress=on_progress, keep_going=keep_going, keep_going_seconds=0.05)


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def test_job_returns_result_and_reports_progress(child: EngineChild, job: EngineJob) -> None:
    seen: list[tuple[int, int]] = []

    result = upscale(child, job, on_progress=lambda done, total: seen.append((done, total)))

    assert (result.original, result.result) == (Size(48, 40), Size(96, 80))
    assert (result.model, result.device) == ("realesr-animevideov3", "cpu")
    assert result.image_format == "png"
    assert result.seconds > 0
    assert seen == [(done, 9) for done in range(10)]
    with Image.open(job.target) as image:
        assert image.size == (96, 80)


def test_one_child_runs_several_jobs(child: EngineChild, job: EngineJob) -> None:
    hello = child.start()
    pid = child.pid

    upscale(child, job)
    first = job.target.read_bytes()
    upscale(child, job)

    assert child.pid == pid
    assert job.target.read_bytes() == first
    assert hello.device == "cpu"
    assert hello.versions["ncnn"]


def test_child_applies_metadata_policy(coffee: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cup"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 0.0)})
    coffee.crop((0, 0, 16, 16)).save(tmp_path / "cup.jpg", exif=exif)

    with EngineChild(replace(OPTIONS, metadata=MetadataPolicy.STRIP_LOCATION)) as child:
        upscale(child, EngineJob(tmp_path / "cup.jpg", tmp_path / "result.jpg", Sizing(2)))

    with Image.open(tmp_path / "result.jpg") as image:
        left = image.getexif()
        assert left[0x010E] == "a cup"
        assert not left.get_ifd(0x8825)


def test_invalid_image_does_not_end_the_child(child: EngineChild, job: EngineJob, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    pid = child.start() and child.pid

    with pytest.raises(InvalidImage, match="cannot be read"):
        upscale(child, EngineJob(tmp_path / "bad.png", job.target, Sizing(2)))

    assert upscale(child, job).result == (96, 80)
    assert child.pid == pid


def test_unwritable_target_raises_engine_lost(child: EngineChild, job: EngineJob, tmp_path: Path) -> None:
    with pytest.raises(EngineLost, match="FileNotFoundError"):
        upscale(child, EngineJob(job.source, tmp_path / "nowhere" / "result.png", Sizing(2)))

    assert upscale(child, job).result == (96, 80)


def test_killed_child_raises_engine_lost_and_is_replaced(
    child: EngineChild, job: EngineJob, long_job: EngineJob
) -> None:
    killed = []

    def kill(done: int, _total: int) -> None:
        if done == 3:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(EngineLost, match="exit status -9"):
        upscale(child, long_job, on_progress=kill)

    assert not long_job.target.exists()
    assert upscale(child, job).result == (96, 80)
    assert [child.pid] != killed


# The system kills a process when memory runs out; the reduced tile side applies to the next child.
def test_child_killed_within_tiles_halves_the_tile_side(job: EngineJob, long_job: EngineJob) -> None:
    def kill(done: int, _total: int) -> None:
        if done == 3:
            os.kill(child.pid, signal.SIGKILL)

    with EngineChild(replace(OPTIONS, tile_side=80)) as child:
        assert child.start().tile_side == 80
        with pytest.raises(EngineLost):
            upscale(child, long_job, on_progress=kill)

        assert child.start().tile_side == 40
        assert upscale(child, job).result == (96, 80)


# A program that behaves like a child that decodes a large image: it sends heartbeats, and is then killed.
DECODING_PROGRAM = """
import os, signal, time
print('{"type": "hello", "device": "cpu", "device_name": "", "model": "one", "versions": {}, '
    '"tile_side": 200, "slowest_seconds": 0.001, "excluded_devices": []}', flush=True)
input()
print('{"type": "ready", "tile_side": 200, "slowest_seconds": 0.001}', flush=True)
print('{"type": "heartbeat"}', flush=True)
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_child_killed_while_it_decodes_keeps_the_tile_side(
    job: EngineJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        engine_process, "engine_command", lambda _options: [sys.executable, "-c", DECODING_PROGRAM]
    )

    with EngineChild(OPTIONS) as child, pytest.raises(EngineLost, match="exit status -9"):
        upscale(child, job)

    assert "tile_side_reduced" not in caplog.text


def test_child_death_between_jobs_costs_no_attempt(job: EngineJob) -> None:
    with EngineChild(replace(OPTIONS, tile_side=80)) as child:
        child.start()
        os.kill(child.pid, signal.SIGKILL)
        # The main thread may end before the others, and then the process has not ended yet.
        assert wait_until(lambda: child._process.has_ended)

        assert upscale(child, job).result == (96, 80)
        assert child.start().tile_side == 80


@pytest.fixture
def large_tiles(tmp_path: Path) -> EngineOptions:
    """Return options with a model whose tiles are larger than those of any shipped model."""
    write_own_model(tmp_path / "models", cpu_tile=600)
    return EngineOptions("cpu", "mine", tile_threads=1, models=tmp_path / "models")


@pytest.fixture
def little_memory(large_tiles: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit each child to 200 MiB more than it needs to start: half of the need of a tile of 450x300."""
    room = 200
    with EngineChild(large_tiles) as child:
        child.start()
        bound = psutil.Process(child.pid).memory_info().vms // 1024 + room * 1024
    command = engine_process.engine_command
    monkeypatch.setattr(
        engine_process,
        "engine_command",
        lambda options: ["sh", "-c", f'ulimit -v {bound} && exec "$0" "$@"', *command(options)],
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
def test_too_large_tile_restarts_with_smaller_tiles(
    coffee: Image.Image, tmp_path: Path, large_tiles: EngineOptions, little_memory: None
) -> None:
    coffee.crop((100, 60, 550, 360)).save(tmp_path / "large.png")
    large = EngineJob(tmp_path / "large.png", tmp_path / "large-result.png", Sizing(2))
    seen: list[tuple[int, int]] = []

    with EngineChild(replace(large_tiles, tile_side=450)) as child:
        upscale(child, large, on_progress=lambda done, total: seen.append((done, total)))

        # First there was one tile, which failed; then smaller ones, which the next image uses from the start.
        assert seen[0] == (0, 1)
        side, tiles = child.start().tile_side, seen[-1][1]
        assert side < 450
        assert seen[-tiles - 1 :] == [(done, tiles) for done in range(tiles + 1)]
        result, pid = large.target.read_bytes(), child.pid
        upscale(child, large)
        assert (child.pid, large.target.read_bytes()) == (pid, result)
    with EngineChild(replace(large_tiles, tile_side=side)) as child:
        upscale(child, large)
        assert child.start().tile_side == side
    assert large.target.read_bytes() == result


def test_too_little_memory_for_smallest_tile_is_engine_lost(
    long_job: EngineJob, monkeypatch: pytest.MonkeyPatch, large_tiles: EngineOptions, little_memory: None
) -> None:
    monkeypatch.setattr(engine_child, "SMALLEST_TILE_SIDE", 600)

    with (
        EngineChild(large_tiles) as child,
        pytest.raises(EngineLost, match="cpu failed on a tile of"),
    ):
        upscale(child, long_job)


def test_hanging_child_is_killed_and_replaced(job: EngineJob, long_job: EngineJob) -> None:
    stopped = []

    def stop(done: int, _total: int) -> None:
        if done == 3:
            stopped.append(child.pid)
            os.kill(child.pid, signal.SIGSTOP)

    beats = []
    with EngineChild(OPTIONS, stall_seconds=1.5) as child:
        with pytest.raises(EngineLost, match="sent no message"):
            upscale(child, long_job, on_progress=stop, keep_going=lambda: beats.append(1) is None)

        # The lease must be renewed while the child sends no message.
        assert len(beats) > 10
        assert wait_until(lambda: has_ended(stopped[0]))
        assert upscale(child, job).result == (96, 80)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an operator's folder with one model: a shipped one under another name."""
    write_own_model(tmp_path / "models")
    return tmp_path / "models"


def test_each_job_uses_its_own_model(
    coffee: Image.Image, job: EngineJob, tmp_path: Path, models: Path
) -> None:
    coffee.crop((0, 0, 8, 8)).save(tmp_path / "small.png")
    small = EngineJob(tmp_path / "small.png", tmp_path / "small-result.png", Sizing(4))

    with EngineChild(replace(OPTIONS, models=models)) as child:
        outcomes = [
            (upscale(child, replace(each, model=model)).model, each.target.read_bytes(), child.pid)
            for each, model in ((job, None), (small, "realesrgan-x4plus-anime"), (job, "mine"), (job, None))
        ]

    assert [model for model, _, _ in outcomes] == [
        "realesr-animevideov3",
        "realesrgan-x4plus-anime",
        "mine",
        "realesr-animevideov3",
    ]
    assert len({pid for _, _, pid in outcomes}) == 1
    assert outcomes[0][1] == outcomes[2][1] == outcomes[3][1]
    with EngineChild(EngineOptions("cpu", "realesrgan-x4plus-anime", tile_side=16)) as child:
        upscale(child, small)
        assert small.target.read_bytes() == outcomes[1][1]


def test_own_model_can_be_the_default_model(job: EngineJob, models: Path) -> None:
    with EngineChild(replace(OPTIONS, model="mine", models=models)) as child:
        assert child.start().model == "mine"
        assert upscale(child, job).model == "mine"


def test_unusable_model_does_not_end_the_child(job: EngineJob, models: Path) -> None:
    with EngineChild(replace(OPTIONS, models=models)) as child:
        pid = child.start() and child.pid
        with pytest.raises(ModelUnusable, match="There is no model 'waifu2x'"):
            upscale(child, replace(job, model="waifu2x"))
        (models / "mine-x2.bin").write_bytes(b"damaged")
        with pytest.raises(ModelUnusable, match="The model mine cannot be used at present"):
            upscale(child, replace(job, model="mine"))

        assert not job.target.exists()
        assert upscale(child, job).result == (96, 80)
        assert child.pid == pid


def test_invalid_manifest_raises_manifest_error(models: Path) -> None:
    (models / "other.toml").write_text("pad = 1")

    with (
        EngineChild(replace(OPTIONS, models=models)) as child,
        pytest.raises(ManifestError, match=r"other\.toml cannot be used: networks: Field required"),
    ):
        child.start()


def test_reduced_tile_side_depends_on_the_current_model(
    coffee: Image.Image, tmp_path: Path, models: Path
) -> None:
    write_own_model(models, "larger", cpu_tile=400)
    coffee.save(tmp_path / "long.png")
    long_job = EngineJob(tmp_path / "long.png", tmp_path / "long-result.png", Sizing(2), model="larger")

    def kill(done: int, _total: int) -> None:
        if done == 1:
            os.kill(child.pid, signal.SIGKILL)

    with EngineChild(EngineOptions("cpu", "mine", tile_threads=1, models=models)) as child:
        with pytest.raises(EngineLost):
            upscale(child, long_job, on_progress=kill)
        assert child.start().tile_side == 200  # this model's tile was not too large
        with pytest.raises(EngineLost):
            upscale(child, long_job, on_progress=kill)
        assert child.start().tile_side == 100


# A program that behaves like a child that loads a model for its first job.
MODEL_LOADING_PROGRAM = """
import time
hello = ('{"type": "hello", "device": "cpu", "device_name": "", "model": "one", "versions": {}, '
    '"tile_side": 200, "slowest_seconds": 0.001, "excluded_devices": []}')
ready = '{"type": "ready", "tile_side": 200, "slowest_seconds": %s}'
print(hello, flush=True)
input()
print('{"type": "loading"}', flush=True)
time.sleep(1)
print(ready, flush=True)
time.sleep(1)
print('{"type": "invalid_image", "message": "the end"}', flush=True)
"""


@pytest.mark.parametrize(("slowest_seconds", "error"), [("0.001", EngineLost), ("10", InvalidImage)])
def test_hang_limit_is_extended_while_a_model_loads(
    slowest_seconds: str, error: type[Exception], job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_child, "STALL_FLOOR_SECONDS", 0.5)
    program = MODEL_LOADING_PROGRAM % slowest_seconds
    monkeypatch.setattr(engine_process, "engine_command", lambda _options: [sys.executable, "-c", program])

    with EngineChild(OPTIONS) as child, pytest.raises(error, match=r"sent no message for 0\.5 s|the end"):
        upscale(child, job)


# Without a setting, the limit is a multiple of the time that this device needed.
def test_hang_limit_depends_on_measured_device_speed(
    job: EngineJob, long_job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine_child.STALL_FLOOR_SECONDS", 0.5)
    stopped = []

    def stop(done: int, _total: int) -> None:
        if done == 3:
            stopped.append(child.pid)
            os.kill(child.pid, signal.SIGSTOP)

    with EngineChild(OPTIONS) as child:
        limit = stall_limit(child.start().slowest_seconds)
        with pytest.raises(EngineLost, match=f"sent no message for {limit:.3g} s"):
            upscale(child, long_job, on_progress=stop)

        assert wait_until(lambda: has_ended(stopped[0]))
        assert upscale(child, job).result == (96, 80)


def test_stall_limit_has_floor_factor_and_ceiling() -> None:
    assert stall_limit(0.01) == STALL_FLOOR_SECONDS
    assert stall_limit(10) == 10 * STALL_FACTOR
    assert stall_limit(10_000) == STALL_CEILING_SECONDS


BLACK_UNLESS_SQUARE = """
import ncnn
extract = ncnn.Extractor.extract
def broken(extractor, name):
    status, output = extract(extractor, name)
    if output.w != output.h:  # the self-test's image is a square, and so is what is timed
        output.fill(0.0)
    return status, output
ncnn.Extractor.extract = broken
from workers.engine.__main__ import _run
_run()
"""


def test_black_result_raises_engine_faulty(
    child: EngineChild, job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = engine_process.engine_command
    monkeypatch.setattr(
        engine_process,
        "engine_command",
        lambda options: [sys.executable, "-c", BLACK_UNLESS_SQUARE, *command(options)[3:]],
    )

    with pytest.raises(EngineFaulty, match="cpu returned black"):
        upscale(child, job)

    assert not job.target.exists()
    assert child.pid is None


def test_cancelled_job_leaves_no_file_and_keeps_the_child(
    child: EngineChild, job: EngineJob, long_job: EngineJob, tmp_path: Path
) -> None:
    seen: list[int] = []
    child.start()
    pid = child.pid
    before = set(tmp_path.iterdir())

    with pytest.raises(EngineCancelled):
        upscale(
            child, long_job, on_progress=lambda done, _: seen.append(done), keep_going=lambda: len(seen) < 3
        )

    assert max(seen) < 100
    assert set(tmp_path.iterdir()) == before
    assert upscale(child, job).result == (96, 80)
    assert child.pid == pid


def test_child_that_ignores_cancel_is_killed(
    child: EngineChild, job: EngineJob, long_job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine_child.CANCEL_SECONDS", 0.3)
    seen: list[int] = []

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        if done == 3:
            os.kill(child.pid, signal.SIGSTOP)

    with pytest.raises(EngineCancelled):
        upscale(child, long_job, on_progress=stop, keep_going=lambda: 3 not in seen)

    assert child.pid is None
    assert upscale(child, job).result == (96, 80)


def test_callback_exception_ends_the_child(child: EngineChild, job: EngineJob, long_job: EngineJob) -> None:
    child.start()
    pid = child.pid

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale(child, long_job, on_progress=interrupt)

    assert has_ended(pid)
    assert upscale(child, job).result == (96, 80)


def test_child_ignores_sigterm_and_sigint(child: EngineChild, job: EngineJob) -> None:
    child.start()
    pid = child.pid

    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)

    assert upscale(child, job).result == (96, 80)
    assert child.pid == pid


@pytest.mark.parametrize("ending", ["close", "garbage"])
def test_child_ends_with_its_owner(ending: str) -> None:
    child = EngineChild(OPTIONS)
    child.start()
    pid = child.pid

    if ending == "close":
        child.close()
    del child

    assert has_ended(pid)


def test_child_ends_when_its_parent_is_killed(long_job: EngineJob) -> None:
    program = f"""
import sys
from pathlib import Path
from domain.sizing import Sizing
from workers.engine_child import EngineChild, EngineJob, EngineOptions
child = EngineChild(EngineOptions(device="cpu", tile_side=16))
child.upscale(
    EngineJob(Path({str(long_job.source)!r}), Path({str(long_job.target)!r}), Sizing(4)),
    on_progress=lambda done, total: print(child.pid, flush=True),
    keep_going=lambda: True,
)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()

    assert wait_until(lambda: has_ended(pid))


def test_unknown_model_raises_unknown_model() -> None:
    with (
        EngineChild(EngineOptions("cpu", "waifu2x")) as child,
        pytest.raises(UnknownModel, match="realesrgan-x4plus"),
    ):
        child.start()


def test_engine_child_imports_neither_ncnn_nor_pillow() -> None:
    program = "import sys, workers.engine_child; print(sorted({'ncnn', 'numpy', 'PIL'} & set(sys.modules)))"

    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
