from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--nonsense", 2)])
def test_help_and_misuse_set_the_exit_status(argument: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "workers.engine", argument], capture_output=True, text=True, check=False
    )

    assert ended.returncode == code
    assert "usage: python -m workers.engine" in ended.stdout + ended.stderr
