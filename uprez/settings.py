"""Everything an operator can set: ``UPREZ_…`` variables, validated once at the start."""

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
from workers.engine.protocol import EngineOptions, MetadataPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from domain.services import Policy

ENV_PREFIX = "UPREZ_"
_SHORTEST_KEY = 32

Port = Annotated[int, Field(ge=0, le=65_535)]


class SettingsError(UprezError):
    """The message lists each setting that cannot be used, and why."""

    code = "settings_unusable"


class Settings(BaseSettings):
    """Each with its unit, default and bounds; ``docs/settings.md`` is the same list for people."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", validate_default=True
    )

    data: Path = Field(Path("uprez-data"), description="Folder of everything the embedded form keeps.")
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: Port = Field(8000, description="Port the API listens on; 0 takes a free one.")
    public_url: HttpUrl | None = Field(
        None, description="Origin under which clients reach the API, if not the address it listens on."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; by default SQLite in the data folder."
    )
    broker_url: str | None = Field(
        None, description="Redis or RabbitMQ URL of the queue; by default the embedded Valkey."
    )
    limits_url: str | None = Field(
        None, description="Redis URL of the request counters; by default the broker's, if that is a Redis."
    )
    unauthenticated_per_hour: int = Field(
        10, ge=1, le=1_000_000_000, description="Requests per hour and address that bring no valid token."
    )
    secret_key: str | None = Field(
        None,
        min_length=_SHORTEST_KEY,
        description="Signs links, at least 32 characters; by default made once and kept in the data folder.",
    )
    plans_file: Path = Field(DEFAULT_PLANS_FILE, description="TOML file of the plans.")
    default_plan: str = Field("free", description="Plan of a new account.")
    mail_url: str | None = Field(
        None,
        description="Server that takes our mail: smtp://, smtp+starttls:// or smtps://, then user:password@host:port "
        "or only the host; by default mail is written to files in the data folder.",
    )
    mail_from: str = Field("Uprez <uprez@localhost>", description="Sender of our mail.")
    cors_origins: str | None = Field(
        None,
        pattern=r"^(\*|https?://[^/\s]+( https?://[^/\s]+)*)$",
        description="Origins whose pages may call the API, with spaces between them, or *; by default none.",
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, "
        "with commas between them; by default nobody's.",
    )
    api_processes: int = Field(1, ge=1, le=64, description="API worker processes.")
    api_threads: int = Field(16, ge=1, le=256, description="Threads of one API process that run handlers.")
    body_timeout_seconds: float = Field(
        10, ge=0.1, le=600, description="Longest silence within a request's body, in seconds."
    )
    max_upload_kilobytes: int = Field(
        10_240, ge=1, le=10_240, description="Largest accepted picture file, in units of 1,024 bytes."
    )
    max_input_pixels: int = Field(
        40_000_000, ge=1, le=268_435_456, description="Largest accepted picture, in pixels."
    )
    max_output_pixels: int = Field(
        268_435_456, ge=1, le=268_435_456, description="Largest result, in pixels."
    )
    max_waiting_images: int = Field(
        10_000,
        ge=20,
        le=1_000_000,
        description="With so many images waiting for a worker, uploads answer 503.",
    )
    lease_seconds: float = Field(
        20, ge=5, le=3600, description="After this silence, in seconds, a worker's image goes to another."
    )
    wake_seconds: float = Field(
        15, ge=1, le=3600, description="A waiting image is announced again after this many seconds."
    )
    download_link_seconds: int = Field(
        3600, ge=1, le=604_800, description="Life of a download link, in seconds."
    )
    verification_link_seconds: int = Field(
        86_400, ge=60, le=2_592_000, description="Life of a link that verifies an address, in seconds."
    )
    reset_link_seconds: int = Field(
        3600, ge=60, le=604_800, description="Life of a token that sets a new password, in seconds."
    )
    model: str = Field("auto", description="Network that upscales: auto, or a name from `uprez doctor`.")
    models: Path | None = Field(
        None, description="Folder of models of your own, see `docs/models.md`; by default there are none."
    )
    model_choices: str = Field(
        "photo=realesrgan-x4plus,anime=realesrgan-x4plus-anime,fast=realesr-animevideov3",
        description="What requests may choose beside auto, which is UPREZ_MODEL: WORD=MODEL with commas between, the "
        "words photo, anime and fast; empty for nothing.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|(cpu|vulkan:\d+)(,(cpu|vulkan:\d+))*)$",
        description="auto, cpu or vulkan:N; or several of these with commas between, each with an engine.",
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="How a CPU keeps a network's numbers: fp32; bf16, which nobody sees; int8, fastest for "
        "realesrgan-x4plus, at 42 dB and more from fp32; auto takes bf16 where it helps.",
    )
    tile_threads: int = Field(
        0, ge=0, le=256, description="Tiles worked on at a time on the CPU; 0 means one per core."
    )
    metadata: Literal["keep", "strip-location", "strip"] = Field(
        "keep",
        description="What results keep of their originals' EXIF and XMP: keep (all), strip-location (all but where "
        "a picture was taken) or strip (nothing).",
    )
    engine_memory_mb: int | None = Field(
        None,
        ge=64,
        le=1_048_576,
        description="Most memory of an engine on the CPU, in units of 1,048,576 bytes, without a picture, its result and a row of tiles: "
        "tiles become smaller for it, and fewer at a time; by default they are as is fastest.",
    )
    stall_seconds: float | None = Field(
        None,
        ge=1,
        le=3600,
        description="An engine that finishes no tile for this many seconds is killed; by default some twenty times "
        "what its device needs, measured at its start, and at least 60.",
    )
    stop_seconds: float = Field(
        8, ge=4, le=3600, description="Grace for work in hand when the service stops, in seconds."
    )
    check_responses: bool = Field(
        False, description="Check every response against the contract (for tests and staging)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line."
    )

    @field_validator("models", mode="before")
    @classmethod
    def _none_if_empty(cls, path: object) -> object:
        return path or None

    @field_validator("data", "plans_file", "models")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("model_choices")
    @classmethod
    def _words_and_models(cls, choices: str) -> str:
        model_choices.parse(choices)
        return choices

    @field_validator("device")
    @classmethod
    def _each_once(cls, devices: str) -> str:
        names = devices.split(",")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named more than once")
        return devices

    @field_validator("mail_url")
    @classmethod
    def _of_a_mail_server(cls, url: str | None) -> str | None:
        if url is not None:
            SmtpServer.from_url(url)
        return url

    @field_validator("mail_from")
    @classmethod
    def _one_address(cls, sender: str) -> str:
        sender_domain(sender)
        return sender

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str | None) -> str | None:
        for proxy in _listed(proxies):
            ip_network(proxy)  # ValueError says what is wrong with it
        return proxies

    @property
    def trusted_proxy_list(self) -> list[str]:
        return _listed(self.trusted_proxies)

    @property
    def origin(self) -> str:
        """Scheme, host and port that links begin with; no slash at the end."""
        if self.public_url is not None:
            return str(self.public_url).rstrip("/")
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"http://{host}:{self.port}"

    @property
    def reachable_host(self) -> str:
        """Where a client on this machine finds what listens on ``host``."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # read, not bound

    @property
    def valkey_socket(self) -> Path:
        return self.data / "valkey" / "valkey.sock"

    @property
    def resolved_database_url(self) -> str:
        if self.database_url is not None:
            return self.database_url
        from domain.database.urls import sqlite_url  # noqa: PLC0415  # SQLAlchemy is slow to load

        return sqlite_url(self.data / "uprez.sqlite3")

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or unix_url(self.valkey_socket)

    @property
    def resolved_limits_url(self) -> str:
        """Raises SettingsError when there is no Redis to count in."""
        if self.limits_url is not None:
            return self.limits_url
        url = self.resolved_broker_url
        if url.startswith("unix://"):
            return f"redis+{url}"
        if url.startswith(("redis://", "rediss://")):
            return url
        raise SettingsError("UPREZ_LIMITS_URL must name a Redis, because UPREZ_BROKER_URL names none.")

    def policy(self) -> Policy:
        from domain.services import Policy  # noqa: PLC0415  # loads the database's libraries, which not every command needs

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
        return EngineOptions(
            device=self.device,
            model=self.model,
            models=self.models,
            tile_threads=self.tile_threads or None,
            memory_mb=self.engine_memory_mb,
            metadata=MetadataPolicy(self.metadata),
            precision=None if self.precision == "auto" else self.precision,
            # A command that needs no data folder makes none.
            kept=self.data / "networks" if self.data.is_dir() else None,
        )

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these very settings."""
        return {
            f"{ENV_PREFIX}{name.upper()}": str(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }


def _listed(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def unix_url(socket: Path) -> str:
    """A broker's URL for a socket whose path may hold anything."""
    return f"unix://{quote(str(socket))}"


def load_settings(**options: Any) -> Settings:
    """From the environment; what the command line says (not None) goes before. Raises SettingsError."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as reason:
        lines = [_sentence(problem) for problem in reason.errors()]
        raise SettingsError("\n".join(lines)) from None


def secret_key(settings: Settings) -> str:
    """The operator's key, or the one in the data folder, made there at the first start."""
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data / "secret.key"
    make_data_folder(settings)
    if not path.exists():
        _write_once(path, secrets.token_hex(32))
    key = path.read_text("ascii").strip()
    if len(key) < _SHORTEST_KEY:
        raise SettingsError(
            f"{path} is no key; remove it, and a new one is made (links given out so far end)."
        )
    return key


def make_data_folder(settings: Settings) -> None:
    """Its owner's alone: password hashes, mail and pictures lie in it."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)


def worker_ready_file(settings: Settings) -> Path:
    """What a worker leaves for its supervisor once its engines have passed their tests."""
    return settings.data / "worker.ready"


def _write_once(path: Path, text: str) -> None:
    """The whole text or nothing; whoever comes second keeps what the first one wrote."""
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


def _sentence(problem: Mapping[str, Any]) -> str:
    name = ENV_PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    # What is secret, or holds a password, is not repeated on a console or in a log.
    shown = (
        "what it is"
        if name.endswith(("_KEY", "_URL")) and name != "UPREZ_PUBLIC_URL"
        else repr(problem.get("input"))
    )
    return f"{name} cannot be {shown}: {problem['msg']}"


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child process of ours is started with: this environment, and these settings in it."""
    return {**os.environ, **settings.environment()}


def foreign_environment(keep: AbstractSet[str]) -> dict[str, str]:
    """What we were started with, less our settings, except those to ``keep``."""
    return {
        name: value for name, value in os.environ.items() if name in keep or not name.startswith(ENV_PREFIX)
    }
