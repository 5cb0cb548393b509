"""What a run is told: from the command line, or from a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from conformance.catalogue import PROFILES

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PROFILES = ("core",)


class UsageError(Exception):
    """The run cannot even be begun as asked; the message says what to change."""


@dataclass(frozen=True)
class Options:
    """Times are in seconds. ``only`` names requirements; empty: all of the profiles."""

    base_url: str
    token: str
    token_b: str | None = None
    email: str | None = None
    password: str | None = None
    profiles: tuple[str, ...] = DEFAULT_PROFILES
    only: tuple[str, ...] = ()
    read_only: bool = False
    seed: int = 0
    fuzz_seconds: float = 30
    timeout: float = 30
    work_timeout: float = 120
    max_wait: float = 60


def options(given: dict[str, Any], config: Path | None) -> Options:
    """What was given (not None) before what the file says. Raises UsageError."""
    told = {**_from_file(config), **{name: value for name, value in given.items() if value is not None}}
    for needed in ("base_url", "token"):
        if not told.get(needed):
            raise UsageError(f"--{needed.replace('_', '-')} is needed.")
    if not str(told["base_url"]).startswith(("http://", "https://")):
        raise UsageError(f"--base-url is to be an http or https URL, not {told['base_url']!r}.")
    chosen = Options(**{name: _frozen(value) for name, value in told.items()})
    unknown = set(chosen.profiles) - set(PROFILES)
    if unknown:
        raise UsageError(
            f"There is no profile {', '.join(sorted(unknown))}; there are {', '.join(PROFILES)}."
        )
    return chosen


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as reason:
        raise UsageError(f"{path} cannot be used: {reason}") from reason
    told = {name.replace("-", "_"): value for name, value in told.items()}
    unknown = set(told) - {field.name for field in fields(Options)}
    if unknown:
        raise UsageError(f"{path} has unknown settings: {', '.join(sorted(unknown))}.")
    return told
