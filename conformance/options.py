"""What a run is told: from the command line, or from a file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conformance.requirement import PROFILES

DEFAULT_PROFILES = ("core",)
SECRET_OPTIONS = frozenset(
    {"token", "token_b", "email", "password"}
)  # the address is nobody's business either
# In a file and on the command line they are said in the singular.
_PLURALS = {"profile": "profiles"}
_NUMBERS = frozenset({"fuzz_seconds", "timeout", "work_timeout", "max_wait"})
_POSITIVE = frozenset({"timeout", "work_timeout"})


class UsageError(Exception):
    """The run cannot even be begun as asked; the message says what to change."""


@dataclass(frozen=True)
class Options:
    """Times are in seconds. ``only`` names requirements or families; empty: all of the profiles."""

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
    ca_file: str | None = None

    def shown(self) -> dict[str, Any]:
        """As they may be published: of secrets, whether they were given."""
        return {
            field.name: _listed(getattr(self, field.name))
            if field.name not in SECRET_OPTIONS
            else getattr(self, field.name) is not None
            for field in fields(self)
        }


def load_options(given: dict[str, Any], config: Path | None) -> Options:
    """What was given (not None) before what the file says. Raises UsageError."""
    told = {**_from_file(config), **{name: value for name, value in given.items() if value is not None}}
    for needed in ("base_url", "token"):
        if not told.get(needed):
            raise UsageError(f"--{_spoken(needed)} is needed.")
    told = {name: _checked(name, value) for name, value in told.items()}
    _check_url(told["base_url"])
    chosen = Options(**told)
    unknown = set(chosen.profiles) - set(PROFILES)
    if unknown or not chosen.profiles:
        raise UsageError(
            f"There is no profile {', '.join(sorted(unknown)) or 'without a name'}; there are {', '.join(PROFILES)}."
        )
    if (chosen.email is None) != (chosen.password is None):
        raise UsageError("--email and --password are one account's: give both or neither.")
    if chosen.token_b == chosen.token:
        raise UsageError("--token-b is to be of another account than --token, and is the same token.")
    if chosen.ca_file is not None and not Path(chosen.ca_file).is_file():
        raise UsageError(f"--ca-file: there is no file {chosen.ca_file}.")
    return chosen


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises as well
    except ValueError:
        parts, host = None, ""
    if parts is None or parts.scheme not in {"http", "https"} or not re.fullmatch(r"[\w.:%-]+", host):
        raise UsageError(f"--base-url is to be an http or https URL, such as https://host/api, not {url!r}.")
    if parts.username is not None:
        raise UsageError("--base-url is to be without a user's name: the kit shows it in its reports.")
    if parts.query or parts.fragment:
        raise UsageError("--base-url is to end with its path: paths of the contract are put behind it.")


def _checked(name: str, value: Any) -> Any:
    """As the field of that name has it. Raises UsageError."""
    if name in {"profiles", "only"}:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise _wrong(name, "is to be a text or a list of them")
        words = tuple(word.strip() for text in texts for word in text.split(",") if word.strip())
        return words if name == "profiles" else tuple(word.upper() for word in words)
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:  # noqa: PLR2004
            raise _wrong(name, "is to be a number of seconds")
        if name in _POSITIVE and value == 0:
            raise _wrong(name, "is to be more than 0 seconds")
    elif name == "seed" and (isinstance(value, bool) or not isinstance(value, int)):
        raise _wrong(name, "is to be a whole number")
    elif name == "read_only" and not isinstance(value, bool):
        raise _wrong(name, "is to be true or false")
    elif name not in {"seed", "read_only"} and not isinstance(value, str):
        raise _wrong(name, "is to be a text")
    return value


def _wrong(name: str, what: str) -> UsageError:
    return UsageError(f"--{_spoken(name)} {what}.")


def _spoken(name: str) -> str:
    singular = {plural: one for one, plural in _PLURALS.items()}
    return singular.get(name, name).replace("_", "-")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as reason:
        raise UsageError(f"{path} cannot be used: {reason}") from reason
    told = {name.replace("-", "_"): value for name, value in told.items()}
    told = {_PLURALS.get(name, name): value for name, value in told.items()}
    unknown = set(told) - {field.name for field in fields(Options)}
    if unknown:
        raise UsageError(
            f"{path} has unknown settings: {', '.join(sorted(map(_spoken, unknown)))}; there are "
            f"{', '.join(_spoken(field.name) for field in fields(Options))}."
        )
    return told
