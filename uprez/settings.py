"""Everything an operator can set: ``UPREZ_…`` variables, validated once at the start."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, HttpUrl, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import UprezError
from domain.plans import DEFAULT_PLANS_FILE
from domain.services import Rules
from domain.sizing import Caps

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_PREFIX = "UPREZ_"

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
        min_length=32,
        description="Signs links, at least 32 characters; by default made once and kept in the data folder.",
    )
    plans_file: Path = Field(DEFAULT_PLANS_FILE, description="TOML file of the plans.")
    default_plan: str = Field("free", description="Plan of a new account.")
    mail_from: str = Field("Uprez <uprez@localhost>", description="Sender of our mail.")
    api_processes: int = Field(1, ge=1, le=64, description="API worker processes.")
    api_threads: int = Field(16, ge=1, le=256, description="Threads of one API process that run handlers.")
    body_timeout_seconds: float = Field(
        10, ge=0.1, le=600, description="Longest silence within a request's body, in seconds."
    )
    max_upload_kilobytes: int = Field(
        10_240, ge=1, le=1_048_576, description="Largest accepted picture file, in units of 1,024 bytes."
    )
    max_input_pixels: int = Field(
        40_000_000, ge=1, le=1_000_000_000, description="Largest accepted picture, in pixels."
    )
    max_output_pixels: int = Field(
        268_435_456, ge=1, le=4_000_000_000, description="Largest result, in pixels."
    )
    lease_seconds: float = Field(
        20, ge=2, le=3600, description="After this silence, in seconds, a worker's image goes to another."
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
    model: str = Field("auto", description="Network that upscales: auto, or a name from `uprez doctor`.")
    device: str = Field("auto", pattern=r"^(auto|cpu|vulkan:\d+)$", description="auto, cpu or vulkan:N.")
    tile_threads: int = Field(
        0, ge=0, le=256, description="Tiles worked on at a time on the CPU; 0 means one per core."
    )
    stall_seconds: float = Field(
        120, ge=1, le=3600, description="An engine that finishes no tile for this many seconds is killed."
    )
    stop_seconds: float = Field(
        8, ge=1, le=3600, description="Grace for work in hand when the service stops, in seconds."
    )
    check_responses: bool = Field(
        False, description="Check every response against the contract (for tests and staging)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line."
    )

    @field_validator("data", "plans_file")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def origin(self) -> str:
        """Scheme, host and port that links begin with; no slash at the end."""
        if self.public_url is not None:
            return str(self.public_url).rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  # read, not bound
        return f"http://{host}:{self.port}"

    @property
    def valkey_socket(self) -> Path:
        return self.data / "valkey" / "valkey.sock"

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'uprez.sqlite3'}"

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or f"unix://{self.valkey_socket}"

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

    def rules(self) -> Rules:
        return Rules(
            default_plan=self.default_plan,
            origin=self.origin,
            public_url=None if self.public_url is None else self.origin,
            unauthenticated_per_hour=self.unauthenticated_per_hour,
            max_upload_bytes=self.max_upload_kilobytes * 1024,
            max_input_pixels=self.max_input_pixels,
            result_caps=Caps(max_pixels=self.max_output_pixels),
            lease=timedelta(seconds=self.lease_seconds),
            wake_again_after=timedelta(seconds=self.wake_seconds),
            download_link_lifetime=timedelta(seconds=self.download_link_seconds),
            verification_link_lifetime=timedelta(seconds=self.verification_link_seconds),
        )

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these very settings."""
        return {
            f"{ENV_PREFIX}{name.upper()}": str(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }


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
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return path.read_text("ascii")
    key = secrets.token_hex(32)
    path.write_text(key, "ascii")
    return key


def _sentence(problem: Mapping[str, Any]) -> str:
    name = ENV_PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    return f"{name} cannot be {problem.get('input')!r}: {problem['msg']}"


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child process of ours is started with: this environment, and these settings in it."""
    return {**os.environ, **settings.environment()}
