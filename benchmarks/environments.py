"""Separate Python environments for other programs, created on first use in the build folder."""

from __future__ import annotations

import shutil
import subprocess
import sys

from installation import ROOT

FOLDER = ROOT / "build" / "peers"


class Unavailable(Exception):  # not an error: the other programs are measured
    """A program cannot be measured here; the message is the reason."""


def environment(packages: tuple[str, ...]) -> str:
    """Return an interpreter that has the packages. Raise Unavailable if they cannot be installed."""
    folder = FOLDER / packages[0]
    python, installed = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(packages)
    if not installed.exists() or installed.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", *packages])
        installed.write_text(wanted, "utf-8")
    return str(python)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip().splitlines() or ["it cannot be installed"])[-1])
