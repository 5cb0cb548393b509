"""The kit's command line."""

from __future__ import annotations

import subprocess
import sys


def test_the_kit_that_is_not_built_yet_never_says_that_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from conformance.cli import run; run()"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 3
    assert "nothing was checked" in done.stderr
