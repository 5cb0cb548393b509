"""``python -m uprez.lifeline PARENT COMMAND…``: the command, which dies with that parent.

A supervisor that is killed cannot stop its children. They would go on holding its port, its folder and
its queue, so each of them is tied to it by the operating system, or watched where that cannot be done.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK_EVERY_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    parent, command = int(arguments[0]), arguments[1:]
    return (tied if sys.platform == "linux" else watched)(parent, command)


def tied(parent: int, command: list[str]) -> int:
    """On Linux: becomes the command, with a death signal set; returns only if the parent is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # otherwise it died before we asked
        os.execv(command[0], command)  # noqa: S606  # our own supervisor's command, no shell
    return 1


def watched(parent: int, command: list[str]) -> int:
    """For systems without a death signal: stays beside the command and looks."""
    child = subprocess.Popen(command)  # noqa: S603  # as above

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(_LOOK_EVERY_SECONDS)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
