"""``python -m uprez.lifeline PARENT COMMAND…``: run a command that ends when its parent process ends.

A supervisor that is killed cannot stop its children, and they would keep its port, data folder and queue in use.
Therefore the operating system ends them (Linux), or this module polls the parent.
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
_POLL_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    """Run the command that follows the parent's process id and return the exit status.

    On Linux, the command replaces this process. The first item of the command is the path of a program.
    """
    parent, command = int(arguments[0]), arguments[1:]
    run = exec_with_death_signal if sys.platform == "linux" else run_and_poll_parent
    return run(parent, command)


def exec_with_death_signal(parent: int, command: list[str]) -> int:
    """Replace this process with the command, which Linux kills when the parent ends.

    Return 1 when the parent has already ended; otherwise do not return. Raise OSError when the program cannot
    run.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # the signal is not sent if the parent ended before prctl
        os.execv(command[0], command)  # noqa: S606  # the supervisor's own command, no shell
    return 1


def run_and_poll_parent(parent: int, command: list[str]) -> int:
    """Run the command as a child process, kill it when the parent ends, and return its exit status.

    Forward SIGTERM and SIGINT to the child; their handlers stay installed. The status is negative after a
    signal.
    """
    child = subprocess.Popen(command)  # noqa: S603  # as above

    def forward(number: int, _frame: FrameType | None) -> None:
        """Send the signal to the child."""
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(_POLL_SECONDS)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
