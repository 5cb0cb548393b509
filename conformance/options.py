"""The options of a run, from the command line or from a file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conformance.requirement import PROFILES

DEFAULT_PROFILES = ("core",)
SECRET_OPTIONS = frozenset({"token", "token_b", "email", "password"})  # the address is personal data
# Files and the command line use the singular.
_PLURALS = {"profile": "profiles"}
_NUMBERS = frozenset({"fuzz_seconds", "timeout", "work_timeout", "max_wait"})
_POSITIVE = frozenset({"timeout", "work_timeout"})
_MAX_SECONDS = 1e9
_TYPES: dict[str, tuple[type, str]] = {"seed": (int, "a whole number"), "read_only": (bool, "true or false")}


class UsageError(Exception):
    """The run cannot start with these options; the message says what to change."""


@dataclass(frozen=True)
class Options:
    """The options of a run; times are in seconds.

    ``only`` has requirements or families; if it is empty, whole profiles are checked.
    """

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

    def public(self) -> dict[str, Any]:
        """Return the options for a report, with tuples as lists; of a secret, only whether it is set."""
        return {
            field.name: _jsonable(getattr(self, field.name))
            if field.name not in SECRET_OPTIONS
            else getattr(self, field.name) is not None
            for field in fields(self)
        }


def load_options(given: dict[str, Any], config: Path | None) -> Options:
    """Return the options: given values that are not None override those of the TOML file ``config``.

    Raise UsageError for a missing, unknown, wrong or contradictory option, or a file that is not readable.
    """
    values = {**_read_file(config), **{name: value for name, value in given.items() if value is not None}}
    for required in ("base_url", "token"):
        if not values.get(required):
            raise UsageError(f"--{_option_name(required)} is required.")
    options = Options(**{name: _validated(name, value) for name, value in values.items()})
    _validate_url(options.base_url)
    unknown = set(options.profiles) - set(PROFILES)
    if unknown or not options.profiles:
        raise UsageError(
            f"Unknown profile: {', '.join(sorted(unknown)) or '(empty)'}. Known profiles: {', '.join(PROFILES)}."
        )
    if (options.email is None) != (options.password is None):
        raise UsageError("--email and --password belong to one account: set both or neither.")
    if options.token_b == options.token:
        raise UsageError("--token-b is the same as --token. It must be a token of another account.")
    if options.ca_file is not None and not Path(options.ca_file).is_file():
        raise UsageError(f"--ca-file: the file {options.ca_file} does not exist.")
    return options


def _validate_url(url: str) -> None:
    """Raise UsageError unless the URL is http or https with a host and a valid port.

    A user name, a query and a fragment are not allowed either. No request is sent.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # reading an invalid port raises too
    except ValueError:
        parts, host = None, ""
    if parts is None or parts.scheme not in {"http", "https"} or not re.fullmatch(r"[\w.:%-]+", host):
        raise UsageError(f"--base-url must be an http or https URL, such as https://host/api, not {url!r}.")
    if parts.username is not None:
        raise UsageError("--base-url must not contain a user name, because reports show it.")
    if parts.query or parts.fragment:
        raise UsageError("--base-url must end with its path: the paths of the contract are appended to it.")


def _validated(name: str, value: Any) -> Any:
    """Return the value as the field of that name has it. Raise UsageError for a wrong type or range.

    Lists are split at commas, without empty words; ``only`` is upper-case. Unknown names of profiles pass.
    """
    if name in {"profiles", "only"}:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise _wrong(name, "a string or a list of strings")
        words = tuple(word.strip() for text in texts for word in text.split(",") if word.strip())
        return words if name == "profiles" else tuple(word.upper() for word in words)
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_SECONDS:
            raise _wrong(name, "a number of seconds")
        if name in _POSITIVE and value == 0:
            raise _wrong(name, "more than 0 seconds")
        return value
    kind, description = _TYPES.get(name, (str, "a string"))
    if type(value) is not kind:
        raise _wrong(name, description)
    return value


def _wrong(name: str, what: str) -> UsageError:
    """Return the error for an option with a wrong value."""
    return UsageError(f"--{_option_name(name)} must be {what}.")


def _option_name(name: str) -> str:
    """Return the option's name on the command line: singular for one that may be repeated, with hyphens."""
    singular = {plural: one for one, plural in _PLURALS.items()}
    return singular.get(name, name).replace("_", "-")


def _jsonable(value: Any) -> Any:
    """Return a tuple as a list, and everything else as it is."""
    return list(value) if isinstance(value, tuple) else value


def _read_file(path: Path | None) -> dict[str, Any]:
    """Return the values of a TOML file by field name, not yet validated; none without a path.

    Raise UsageError if it is not readable or has unknown settings.
    """
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as reason:
        raise UsageError(f"{path} cannot be read: {reason}") from reason
    names = {name: name.replace("-", "_") for name in values}
    values = {_PLURALS.get(names[name], names[name]): value for name, value in values.items()}
    unknown = set(values) - {field.name for field in fields(Options)}
    if unknown:
        raise UsageError(
            f"{path} has unknown settings: {', '.join(sorted(map(_option_name, unknown)))}. Known settings: "
            f"{', '.join(_option_name(field.name) for field in fields(Options))}."
        )
    return values
