"""The settings of an installation: ``UPREZ_…`` environment variables, validated once at the start."""

from __future__ import annotations

import os
import secrets
import tempfile
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, HttpUrl, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain import model_choices
from domain.errors import UprezError
from domain.plans import DEFAULT_PLANS_FILE
from domain.sizing import Caps
from uprez.adapters.mail_message import sender_domain
from uprez.adapters.mail_smtp import SmtpServer
from workers.engine.options import EngineOptions, MetadataPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from domain.services import Policy

ENV_PREFIX = "UPREZ_"
_MIN_KEY_CHARACTERS = 32

Port = Annotated[int, Field(ge=0, le=65_535)]


class SettingsError(UprezError):
    """Settings that cannot be used; the message has one line for each, with the reason."""

    code = "settings_unusable"


class Settings(BaseSettings):
    """The validated settings; ``docs/settings.md`` is generated from these fields."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", validate_default=True
    )

    data: Path = Field(
        Path("uprez-data"),
        description="Data folder: SQLite database, Valkey queue, image files, mail and secret key.",
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: Port = Field(8000, description="TCP port that the API listens on. 0 selects a free port.")
    public_url: HttpUrl | None = Field(
        None,
        description="URL under which clients reach the API, for example https://uprez.example.com. "
        "Default: the address that the API listens on.",
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the database. Default: an SQLite file in the data folder."
    )
    broker_url: str | None = Field(
        None, description="Redis or RabbitMQ URL of the queue. Default: the embedded Valkey server."
    )
    limits_url: str | None = Field(
        None,
        description="Redis URL of the request counters. Required if the queue is RabbitMQ. "
        "Default: the Redis server of the queue.",
    )
    unauthenticated_per_hour: int = Field(
        10,
        ge=1,
        le=1_000_000_000,
        description="Requests per hour that one client address may send without a valid token.",
    )
    secret_key: str | None = Field(
        None,
        min_length=_MIN_KEY_CHARACTERS,
        description="Key that signs links. Default: a random key, which is created at the first start and stored "
        "in the data folder.",
    )
    plans_file: Path = Field(
        DEFAULT_PLANS_FILE,
        description="TOML file that defines the plans. The default file is part of the package.",
    )
    default_plan: str = Field("free", description="Slug of the plan that a new account gets.")
    mail_url: str | None = Field(
        None,
        description="SMTP server that sends the mail: smtp://, smtp+starttls:// or smtps://, followed by "
        "user:password@host:port or by the host alone. Default: mail is written to files in the data folder.",
    )
    mail_from: str = Field("Uprez <uprez@localhost>", description="Sender address of the mail.")
    cors_origins: str | None = Field(
        None,
        pattern=r"^(\*|https?://[^/\s]+( https?://[^/\s]+)*)$",
        description="Origins whose web pages may call the API, separated by spaces, or * for all origins. "
        "Default: none.",
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses and networks of reverse proxies, separated by commas. Uprez uses X-Forwarded-For and "
        "X-Forwarded-Proto only if one of them sends it. Default: none.",
    )
    api_processes: int = Field(1, ge=1, le=64, description="Number of API processes.")
    api_threads: int = Field(
        16, ge=1, le=256, description="Number of threads that run handlers in each API process."
    )
    body_timeout_seconds: float = Field(
        10, ge=0.1, le=600, description="Longest pause between two parts of a request body, in seconds."
    )
    max_upload_kilobytes: int = Field(
        10_240, ge=1, le=10_240, description="Largest accepted image file, in KiB (1,024 bytes)."
    )
    max_input_pixels: int = Field(
        40_000_000,
        ge=1,
        le=268_435_456,
        description="Largest accepted image, in pixels; the sum of all frames or pages.",
    )
    max_output_pixels: int = Field(
        268_435_456, ge=1, le=268_435_456, description="Largest result, in pixels."
    )
    max_waiting_images: int = Field(
        10_000,
        ge=20,
        le=1_000_000,
        description="Largest number of images that wait for a worker. Further uploads get status 503.",
    )
    lease_seconds: float = Field(
        20,
        ge=5,
        le=3600,
        description="Time without a heartbeat of the worker, in seconds, after which another worker may claim the "
        "image.",
    )
    wake_seconds: float = Field(
        15,
        ge=1,
        le=3600,
        description="Time without a claim, in seconds, after which a pending image is queued again.",
    )
    download_link_seconds: int = Field(
        3600, ge=1, le=604_800, description="Lifetime of a download link, in seconds."
    )
    verification_link_seconds: int = Field(
        86_400,
        ge=60,
        le=2_592_000,
        description="Lifetime of a link that verifies an email address, in seconds.",
    )
    reset_link_seconds: int = Field(
        3600, ge=60, le=604_800, description="Lifetime of a password reset token, in seconds."
    )
    model: str = Field(
        "auto",
        description="Model that upscales: auto, or a name that `uprez doctor` lists. auto selects the model by device.",
    )
    models: Path | None = Field(
        None, description="Folder of additional models, see `docs/models.md`. Default: no additional models."
    )
    model_choices: str = Field(
        "photo=realesrgan-x4plus,anime=realesrgan-x4plus-anime,fast=realesr-animevideov3",
        description="Models that a request can select with its field `model`: WORD=MODEL, separated by commas, where "
        "WORD is photo, anime or fast. A request can always select auto, which is UPREZ_MODEL. Empty: only auto.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|(cpu|vulkan:\d+)(,(cpu|vulkan:\d+))*)$",
        description="Device that computes: auto, cpu or vulkan:N. Several devices, separated by commas, have one engine "
        "each.",
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Number format of the network on a CPU. bf16: no visible difference from fp32. int8: fastest for "
        "realesrgan-x4plus, with a PSNR of at least 42 dB against fp32. auto: bf16 where it is faster without a visible "
        "difference, otherwise fp32.",
    )
    tile_threads: int = Field(
        0, ge=0, le=256, description="Number of tiles computed in parallel on the CPU. 0: one for each core."
    )
    metadata: Literal["keep", "strip-location", "strip"] = Field(
        "keep",
        description="EXIF and XMP metadata that a result has from its original. keep: all of it. strip-location: all "
        "except the location where the image was taken. strip: none.",
    )
    engine_memory_mb: int | None = Field(
        None,
        ge=64,
        le=1_048_576,
        description="Memory limit of an engine on the CPU, in MiB (1,048,576 bytes), not counting the image, its result "
        "and one row of tiles. The engine computes smaller tiles, and fewer in parallel, to stay below it. "
        "Default: no limit; the engine uses the fastest tile size.",
    )
    stall_seconds: float | None = Field(
        None,
        ge=1,
        le=3600,
        description="Time without a finished tile, in seconds, after which an engine is killed. Default: about 20 times "
        "the time that the device needs for a tile, measured at the start, and at least 60.",
    )
    stop_seconds: float = Field(
        8,
        ge=4,
        le=3600,
        description="Time that running work has to finish when the service stops, in seconds.",
    )
    check_responses: bool = Field(
        False,
        description="Validate the body of each operation's response against the contract. Use it for tests and staging.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of the log lines that are written."
    )

    @field_validator("models", mode="before")
    @classmethod
    def _read_empty_as_none(cls, path: object) -> object:
        """Return None for an empty text: an empty variable is not set."""
        return path or None

    @field_validator("data", "plans_file", "models")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        """Return the path from the root, with ``~`` expanded; None stays None. Raise ValueError for an unknown user."""
        try:
            return None if path is None else path.expanduser().absolute()
        except RuntimeError as reason:
            raise ValueError(str(reason)) from None

    @field_validator("model_choices")
    @classmethod
    def _check_model_choices(cls, choices: str) -> str:
        """Return the text. Raise ValueError if ``model_choices.parse`` rejects it."""
        model_choices.parse(choices)
        return choices

    @field_validator("device")
    @classmethod
    def _check_devices_are_distinct(cls, devices: str) -> str:
        """Return the text. Raise ValueError for a device that is listed twice."""
        names = devices.split(",")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is listed more than once. Remove one of them.")
        return devices

    @field_validator("mail_url")
    @classmethod
    def _check_mail_url(cls, url: str | None) -> str | None:
        """Return the URL. Raise ValueError if it is not the URL of an SMTP server."""
        if url is not None:
            SmtpServer.from_url(url)
        return url

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, sender: str) -> str:
        """Return the sender. Raise ValueError if it has no valid email address."""
        sender_domain(sender)
        return sender

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, proxies: str | None) -> str | None:
        """Return the list. Raise ValueError for an item that is neither an IP address nor a network."""
        for proxy in _split_list(proxies):
            ip_network(proxy)  # raises ValueError with the reason
        return proxies

    @property
    def trusted_proxy_list(self) -> list[str]:
        """Return the addresses and networks of ``trusted_proxies``."""
        return _split_list(self.trusted_proxies)

    @property
    def origin(self) -> str:
        """Return the start of links, without a slash at the end: ``public_url``, path included.

        The default is ``http://``, the reachable host (IPv6 in brackets) and the port. The default is for mails and the
        console: without ``public_url``, links in responses begin with the address that the client used.
        """
        if self.public_url is not None:
            return str(self.public_url).rstrip("/")
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"http://{host}:{self.port}"

    @property
    def reachable_host(self) -> str:
        """Return the host under which a client on this machine reaches the API."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound

    @property
    def valkey_socket(self) -> Path:
        """Return the path of the embedded Valkey server's unix socket."""
        return self.data / "valkey" / "valkey.sock"

    @property
    def resolved_database_url(self) -> str:
        """Return ``database_url`` or the URL of the SQLite file in the data folder."""
        if self.database_url is not None:
            return self.database_url
        from domain.database.urls import sqlite_url  # noqa: PLC0415  # SQLAlchemy is slow to load

        return sqlite_url(self.data / "uprez.sqlite3")

    @property
    def resolved_broker_url(self) -> str:
        """Return ``broker_url`` or the URL of the embedded Valkey server."""
        return self.broker_url or unix_url(self.valkey_socket)

    @property
    def resolved_limits_url(self) -> str:
        """Return ``limits_url`` unchanged or, by default, the broker's URL as ``limits`` expects it.

        Raise SettingsError when ``limits_url`` is None and the broker is not a Redis server.
        """
        if self.limits_url is not None:
            return self.limits_url
        url = self.resolved_broker_url
        if url.startswith("unix://"):
            return f"redis+{url}"
        if url.startswith(("redis://", "rediss://")):
            return url
        raise SettingsError(
            "UPREZ_BROKER_URL is not a Redis URL. Set UPREZ_LIMITS_URL to a Redis server for the request counters."
        )

    def policy(self) -> Policy:
        """Return the limits and lifetimes that the domain layer applies."""
        # Imported here: it loads the database libraries, which not every command needs.
        from domain.services import Policy  # noqa: PLC0415

        return Policy(
            default_plan=self.default_plan,
            origin=self.origin,
            public_url=None if self.public_url is None else self.origin,
            unauthenticated_per_hour=self.unauthenticated_per_hour,
            max_upload_bytes=self.max_upload_kilobytes * 1024,
            max_input_pixels=self.max_input_pixels,
            max_waiting_images=self.max_waiting_images,
            result_caps=Caps(max_pixels=self.max_output_pixels),
            model_choices=model_choices.parse(self.model_choices),
            lease=timedelta(seconds=self.lease_seconds),
            requeue_after=timedelta(seconds=self.wake_seconds),
            download_link_lifetime=timedelta(seconds=self.download_link_seconds),
            verification_link_lifetime=timedelta(seconds=self.verification_link_seconds),
            reset_link_lifetime=timedelta(seconds=self.reset_link_seconds),
        )

    def engine_options(self) -> EngineOptions:
        """Return the options of the engine processes.

        Networks are cached in the data folder only if the folder exists; it is not created. 0 for
        ``tile_threads`` and auto for ``precision`` become None.
        """
        return EngineOptions(
            device=self.device,
            model=self.model,
            models=self.models,
            tile_threads=self.tile_threads or None,
            memory_mb=self.engine_memory_mb,
            metadata=MetadataPolicy(self.metadata),
            precision=None if self.precision == "auto" else self.precision,
            # Only in an existing data folder: a command that needs no data folder must not create one.
            network_cache=self.data / "networks" if self.data.is_dir() else None,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give a child process the same settings, secrets included.

        Settings that are None have no variable.
        """
        return {
            f"{ENV_PREFIX}{name.upper()}": str(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }


def _split_list(text: str | None) -> list[str]:
    """Return the items between commas, without spaces around them and without empty ones; none for None."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def unix_url(socket: Path) -> str:
    """Return the broker URL of a unix socket, with special characters of its path escaped."""
    return f"unix://{quote(str(socket))}"


def load_settings(**options: Any) -> Settings:
    """Read the settings from the environment; ``options`` of the command line that are not None override it.

    Raise SettingsError with one line per invalid value; values of keys and URLs with passwords are hidden.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        lines = [_describe_problem(problem) for problem in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def load_secret_key(settings: Settings) -> str:
    """Return the configured key, or the key in the data folder; create folder and key if they are missing.

    Processes that start at the same time get the same key. Raise SettingsError when the key in the file is
    shorter than 32 characters or not ASCII.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data / "secret.key"
    make_data_folder(settings)
    if not path.exists():
        _write_new_file(path, secrets.token_hex(32))
    content = path.read_bytes()
    key = content.decode("ascii").strip() if content.isascii() else ""
    if len(key) < _MIN_KEY_CHARACTERS:
        raise SettingsError(
            f"{path} does not contain a valid key. Remove the file; the next start creates a new key and "
            "invalidates all existing links."
        )
    return key


def make_data_folder(settings: Settings) -> None:
    """Create the data folder, with its parents if they are missing, readable by its owner only.

    A folder that exists keeps its permissions. It contains password hashes, mail and images. Raise OSError if it
    cannot be created.
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)


def worker_ready_file(settings: Settings) -> Path:
    """Return the path of the file that a worker creates when its engines have passed their self-test."""
    return settings.data / "worker.ready"


def _write_new_file(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only.

    If the file exists, keep it unchanged and raise no error. The folder must exist.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:  # mode 0600
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(file.name, path)
    except FileExistsError:
        pass
    finally:
        Path(file.name).unlink()


def _describe_problem(problem: Mapping[str, Any]) -> str:
    """Return one line about an error that pydantic found: variable, value and reason.

    The value of a key or URL is hidden, except that of UPREZ_PUBLIC_URL.
    """
    name = ENV_PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    # Keys and URLs with passwords must not appear on the console or in a log.
    is_secret = name.endswith(("_KEY", "_URL")) and name != "UPREZ_PUBLIC_URL"
    value = "value hidden" if is_secret else repr(problem.get("input"))
    return f"{name} is invalid ({value}): {problem['msg']}"


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a child process: the current environment with these settings."""
    return {**os.environ, **settings.environment()}


def environment_without_settings(keep: AbstractSet[str]) -> dict[str, str]:
    """Return the current environment without Uprez settings, except the variables in ``keep``."""
    return {
        name: value for name, value in os.environ.items() if name in keep or not name.startswith(ENV_PREFIX)
    }
