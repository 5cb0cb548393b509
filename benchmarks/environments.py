"""Python environments for peers, each its own, made when first needed and kept in the folder of what is built."""

from __future__ import annotations

import shutil
import subprocess
import sys

from installation import ROOT

FOLDER = ROOT / "build" / "peers"


class Unavailable(Exception):  # not an error: the others are measured
    """Why a peer cannot be measured here, in a sentence."""


def environment(packages: tuple[str, ...]) -> str:
    """An interpreter that has the packages. Raises Unavailable."""
    folder = FOLDER / packages[0]
    python, made = folder / "bin" / "python", folder / "made-of"
    wanted = "\n".join(packages)
    if not made.exists() or made.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", *packages])
        made.write_text(wanted, "utf-8")
    return str(python)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip().splitlines() or ["it cannot be installed"])[-1])
