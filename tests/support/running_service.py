"""Running services and commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# All tests send from one address, so the default limit would be reached.
_UNLIMITED = {"UPREZ_UNAUTHENTICATED_PER_HOUR": "1000000"}
READY = "Uprez is ready at "
COMMAND = [sys.executable, "-W", "error::UserWarning", "-m", "uprez"]


@dataclass
class Service:
    """A process of ``uprez serve`` with its data folder and the base URL of its API."""

    folder: Path
    options: tuple[str, ...] = ("--port", "0")
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    api: str = ""

    def start(self) -> Service:
        """Start the service and wait until it is ready."""
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
        """Stop the service with SIGTERM and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def kill(self) -> None:
        """Kill the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def new_token(self, email: str = "jane@example.com", plan: str = "enterprise") -> str:
        """Create a verified account and return its token."""
        created = run_uprez(
            "user", "create", "--email", email, "--name", "Jane Smith", "--plan", plan, "--verified",
            "--data", str(self.folder),
        )  # fmt: skip
        assert created.returncode == 0, created.stderr
        token: str = json.loads(created.stdout)["token"]
        return token


def run_uprez(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ``uprez`` with more environment variables; do not check its exit status."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
