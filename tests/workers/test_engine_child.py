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
from workers.engine.errors import ManifestError, UnknownDevice, UnknownModel
from workers.engine.protocol import MetadataPolicy
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
    engine_report,
    stall_limit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS = EngineOptions(device="cpu", tile_side=16, tile_threads=2)
TIMEOUT_SECONDS = 20.0


@pytest.fixture
def child() -> Iterator[EngineChild]:
    with EngineChild(OPTIONS, stall_seconds=TIMEOUT_SECONDS) as child:
        yield child


@pytest.fixture
def job(image_file: Path, tmp_path: Path) -> EngineJob:
    return EngineJob(image_file, tmp_path / "result.png", Sizing(2))


@pytest.fixture
def long_job(coffee: Image.Image, tmp_path: Path) -> EngineJob:
    """Some hundred tiles: it is surely not over when something happens to it."""
    coffee.save(tmp_path / "long.png")
    return EngineJob(tmp_path / "long.png", tmp_path / "long-result.png", Sizing(4))


def upscale(
    child: EngineChild,
    job: EngineJob,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    keep_going: Callable[[], bool] = lambda: True,
) -> EngineResult:
    return child.upscale(job, on_progress=on_progress, keep_going=keep_going, beat_seconds=0.05)


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def test_a_job_is_done_and_reported(child: EngineChild, job: EngineJob) -> None:
    seen: list[tuple[int, int]] = []

    result = upscale(child, job, on_progress=lambda done, total: seen.append((done, total)))

    assert (result.original, result.result) == (Size(48, 40), Size(96, 80))
    assert (result.model, result.device) == ("realesr-animevideov3", "cpu")
    assert result.image_format == "png"
    assert result.seconds > 0
    assert seen == [(done, 9) for done in range(10)]
    with Image.open(job.target) as image:
        assert image.size == (96, 80)


def test_one_child_does_many_jobs(child: EngineChild, job: EngineJob) -> None:
    hello = child.start()
    pid = child.pid

    upscale(child, job)
    first = job.target.read_bytes()
    upscale(child, job)

    assert child.pid == pid
    assert job.target.read_bytes() == first
    assert hello.device == "cpu"
    assert hello.versions["ncnn"]


def test_a_child_keeps_of_the_metadata_what_its_options_say(coffee: Image.Image, tmp_path: Path) -> None:
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


def test_a_bad_picture_is_refused_and_the_child_lives_on(
    child: EngineChild, job: EngineJob, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pid = child.start() and child.pid

    with pytest.raises(InvalidImage, match="cannot be read"):
        upscale(child, EngineJob(tmp_path / "bad.png", job.target, Sizing(2)))

    assert upscale(child, job).result == (96, 80)
    assert child.pid == pid


def test_a_file_that_cannot_be_written_is_the_engines_fault(
    child: EngineChild, job: EngineJob, tmp_path: Path
) -> None:
    with pytest.raises(EngineLost, match="FileNotFoundError"):
        upscale(child, EngineJob(job.source, tmp_path / "nowhere" / "result.png", Sizing(2)))

    assert upscale(child, job).result == (96, 80)


def test_a_child_that_is_killed_in_mid_job_is_lost_and_the_next_job_gets_another(
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


# The system's way to say that memory ran out; the smaller tile is remembered for the child that comes next.
def test_after_a_child_was_killed_within_its_tiles_the_next_one_works_on_smaller_ones(
    job: EngineJob, long_job: EngineJob
) -> None:
    def kill(done: int, _total: int) -> None:
        if done == 3:
            os.kill(child.pid, signal.SIGKILL)

    with EngineChild(replace(OPTIONS, tile_side=80)) as child:
        assert child.start().tile_side == 80
        with pytest.raises(EngineLost):
            upscale(child, long_job, on_progress=kill)

        assert child.start().tile_side == 40
        assert upscale(child, job).result == (96, 80)


def test_a_child_that_dies_between_two_jobs_costs_neither_an_attempt(job: EngineJob) -> None:
    with EngineChild(replace(OPTIONS, tile_side=80)) as child:
        child.start()
        os.kill(child.pid, signal.SIGKILL)
        # Its first thread may be gone before the others, and it is not yet over then.
        assert wait_until(lambda: child._process.has_ended)

        assert upscale(child, job).result == (96, 80)
        assert child.start().tile_side == 80


@pytest.fixture
def large_tiles(tmp_path: Path) -> EngineOptions:
    """A model whose tiles are larger than those of any of ours."""
    write_own_model(tmp_path / "models", cpu_tile=600)
    return EngineOptions("cpu", "mine", tile_threads=1, models=tmp_path / "models")


@pytest.fixture
def little_memory(large_tiles: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every child has this much, in MiB, beyond what it needs to start: half of what a tile of 450x300 takes."""
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
def test_a_child_whose_memory_is_too_small_for_a_tile_makes_the_picture_anew_of_smaller_ones(
    coffee: Image.Image, tmp_path: Path, large_tiles: EngineOptions, little_memory: None
) -> None:
    coffee.crop((100, 60, 550, 360)).save(tmp_path / "large.png")
    large = EngineJob(tmp_path / "large.png", tmp_path / "large-result.png", Sizing(2))
    seen: list[tuple[int, int]] = []

    with EngineChild(replace(large_tiles, tile_side=450)) as child:
        upscale(child, large, on_progress=lambda done, total: seen.append((done, total)))

        # One tile, which never came; then smaller ones, and for the next picture those at once.
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


def test_a_child_whose_memory_is_too_small_for_the_smallest_tile_is_lost(
    long_job: EngineJob, monkeypatch: pytest.MonkeyPatch, large_tiles: EngineOptions, little_memory: None
) -> None:
    monkeypatch.setattr(engine_child, "SMALLEST_TILE_SIDE", 600)

    with (
        EngineChild(large_tiles) as child,
        pytest.raises(EngineLost, match="cpu failed on a tile of"),
    ):
        upscale(child, long_job)


def test_a_child_that_hangs_is_killed_and_the_next_job_gets_another(
    job: EngineJob, long_job: EngineJob
) -> None:
    stopped = []

    def stop(done: int, _total: int) -> None:
        if done == 3:
            stopped.append(child.pid)
            os.kill(child.pid, signal.SIGSTOP)

    beats = []
    with EngineChild(OPTIONS, stall_seconds=1.5) as child:
        with pytest.raises(EngineLost, match="sent no message"):
            upscale(child, long_job, on_progress=stop, keep_going=lambda: beats.append(1) is None)

        # The lease must be renewed while nothing comes from the child.
        assert len(beats) > 10
        assert wait_until(lambda: has_ended(stopped[0]))
        assert upscale(child, job).result == (96, 80)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An operator's folder, with one model: ours by another name."""
    write_own_model(tmp_path / "models")
    return tmp_path / "models"


def test_one_child_does_each_job_with_the_model_it_asks_for(
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


def test_a_model_of_ones_own_can_be_the_engines_choice(job: EngineJob, models: Path) -> None:
    with EngineChild(replace(OPTIONS, model="mine", models=models)) as child:
        assert child.start().model == "mine"
        assert upscale(child, job).model == "mine"


def test_a_job_whose_model_cannot_be_used_is_refused_and_the_child_lives_on(
    job: EngineJob, models: Path
) -> None:
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


def test_a_manifest_that_is_wrong_is_refused_for_good(models: Path) -> None:
    (models / "other.toml").write_text("pad = 1")

    with (
        EngineChild(replace(OPTIONS, models=models)) as child,
        pytest.raises(ManifestError, match=r"other\.toml cannot be used: networks: Field required"),
    ):
        child.start()


def test_smaller_tiles_are_smaller_than_those_of_the_model_at_work(
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
        assert child.start().tile_side == 200  # which was not too large
        with pytest.raises(EngineLost):
            upscale(child, long_job, on_progress=kill)
        assert child.start().tile_side == 100


# A child without an engine, as it is while and after it loads a model for its first job.
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
def test_a_model_may_take_its_time_to_load_and_afterwards_as_much_as_it_says_it_needs(
    slowest_seconds: str, error: type[Exception], job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_child, "STALL_FLOOR_SECONDS", 0.5)
    program = MODEL_LOADING_PROGRAM % slowest_seconds
    monkeypatch.setattr(engine_process, "engine_command", lambda _options: [sys.executable, "-c", program])

    with EngineChild(OPTIONS) as child, pytest.raises(error, match=r"sent no message for 0\.5 s|the end"):
        upscale(child, job)


# Without a setting, the limit is what this device was measured to need, many times over.
def test_a_hang_is_told_by_what_the_device_needed_at_its_start(
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


def test_a_slow_device_is_given_time_and_none_is_given_for_ever() -> None:
    assert stall_limit(0.01) == STALL_FLOOR_SECONDS
    assert stall_limit(10) == 10 * STALL_FACTOR
    assert stall_limit(10_000) == STALL_CEILING_SECONDS


BLACK_UNLESS_SQUARE = """
import ncnn
extract = ncnn.Extractor.extract
def broken(extractor, name):
    status, output = extract(extractor, name)
    if output.w != output.h:  # the self-test's picture is a square, and so is what is timed
        output.fill(0.0)
    return status, output
ncnn.Extractor.extract = broken
from workers.engine.__main__ import _run
_run()
"""


def test_a_device_that_answers_a_picture_with_black_is_at_fault(
    child: EngineChild, job: EngineJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = engine_process.engine_command
    monkeypatch.setattr(
        engine_process,
        "engine_command",
        lambda options: [sys.executable, "-c", BLACK_UNLESS_SQUARE, *command(options)[3:]],
    )

    with pytest.raises(EngineFaulty, match="cpu answered with black"):
        upscale(child, job)

    assert not job.target.exists()
    assert child.pid is None


def test_a_cancelled_job_stops_and_leaves_nothing_and_the_child_lives_on(
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


def test_a_child_that_does_not_obey_is_killed(
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


def test_an_error_of_the_caller_ends_the_child_in_mid_job(
    child: EngineChild, job: EngineJob, long_job: EngineJob
) -> None:
    child.start()
    pid = child.pid

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale(child, long_job, on_progress=interrupt)

    assert has_ended(pid)
    assert upscale(child, job).result == (96, 80)


def test_the_child_ignores_the_signals_that_are_for_the_worker(child: EngineChild, job: EngineJob) -> None:
    child.start()
    pid = child.pid

    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)

    assert upscale(child, job).result == (96, 80)
    assert child.pid == pid


@pytest.mark.parametrize("ending", ["close", "garbage"])
def test_no_child_outlives_its_owner(ending: str) -> None:
    child = EngineChild(OPTIONS)
    child.start()
    pid = child.pid

    if ending == "close":
        child.close()
    del child

    assert has_ended(pid)


def test_the_child_ends_when_its_parent_is_killed_in_mid_job(long_job: EngineJob) -> None:
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


def test_settings_that_cannot_work_are_refused_for_good() -> None:
    with (
        EngineChild(EngineOptions("cpu", "waifu2x")) as child,
        pytest.raises(UnknownModel, match="realesrgan-x4plus"),
    ):
        child.start()


def test_the_report_tells_devices_models_and_what_would_be_used() -> None:
    report = engine_report(EngineOptions("cpu"))

    (cpu,) = report.devices
    assert (cpu.id, cpu.used, cpu.model, cpu.problem) == ("cpu", True, "realesr-animevideov3", None)
    assert cpu.agreement_db > 45
    assert [model.name for model in report.models] == [
        "realesr-animevideov3",
        "realesrgan-x4plus",
        "realesrgan-x4plus-anime",
    ]
    assert [len(model.files) for model in report.models] == [6, 2, 2]
    assert report.problems == ()
    assert "cpu (as set)" in report.choice


def test_the_report_tells_an_operators_models_and_what_is_wrong_with_them(models: Path) -> None:
    options = EngineOptions("cpu", "mine", models=models)
    report = engine_report(options)

    assert report.problems == ()
    assert (report.models[-1].name, report.models[-1].scales) == ("mine", (2,))
    assert [file.name for file in report.models[-1].files] == ["mine-x2.param", "mine-x2.bin"]
    (cpu,) = report.devices
    assert (cpu.model, cpu.agreement_db) == ("mine", 99)

    manifest = models / "mine.toml"
    manifest.write_text(manifest.read_text().replace("scale = 2", "scale = 3"))
    (problem,) = engine_report(EngineOptions("cpu", models=models)).problems
    assert problem.startswith("The network mine-x2 does not work as its manifest says")

    (models / "mine-x2.bin").unlink()
    report = engine_report(options)
    assert report.problems == ("The network file mine-x2.bin cannot be read: No such file or directory.",)


def test_a_report_on_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownDevice, match="vulkan:77"):
        engine_report(EngineOptions("vulkan:77"))


def test_the_supervisor_needs_neither_ncnn_nor_pillow() -> None:
    program = "import sys, workers.engine_child; print(sorted({'ncnn', 'numpy', 'PIL'} & set(sys.modules)))"

    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
