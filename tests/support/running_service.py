"""A whole service in a process of its own, for every test that needs one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# A whole run of tests comes from one address within one hour.
_UNLIMITED = {"UPREZ_UNAUTHENTICATED_PER_HOUR": "1000000"}
READY = "Uprez is ready at "
COMMAND = [sys.executable, "-W", "error::UserWarning", "-m", "uprez"]


@dataclass
class Service:
    """``uprez serve`` as an operator has it: a process, a folder, an address."""

    folder: Path
    options: tuple[str, ...] = ("--port", "0")
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    api: str = ""

    def start(self) -> Service:
        command = [*COMMAND, "serve", *self.options, "--data", str(self.folder)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **_UNLIMITED, **self.environment}
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(READY):
                self.api = line.removeprefix(READY).strip()
                return self
        raise AssertionError(f"uprez serve ended with {self.process.wait()}")

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=15)
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def new_token(self, email: str = "jane@example.com", plan: str = "enterprise") -> str:
        made = run_uprez(
            "user", "create", "--email", email, "--name", "Jane Smith", "--plan", plan, "--verified",
            "--data", str(self.folder),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        token: str = json.loads(made.stdout)["token"]
        return token


def run_uprez(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
