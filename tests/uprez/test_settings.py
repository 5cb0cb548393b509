"""Settings: bounds, validation at the start, environment of child processes, documentation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from project_root import ROOT
from uprez.settings import (
    ENV_PREFIX,
    Settings,
    SettingsError,
    child_environment,
    load_secret_key,
    load_settings,
)
from workers.engine.inference.models import ANIMEVIDEO, X4PLUS, X4PLUS_ANIME

PAGE = ROOT / "docs" / "settings.md"
_BOUNDS = {
    "ge": "at least {:,}",
    "le": "at most {:,}",
    "min_length": "at least {:,} characters",
    "pattern": "`{}`",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX) and "_TEST_" not in name]:
        monkeypatch.delenv(name)


def rows() -> list[str]:
    return [_row(name, field) for name, field in Settings.model_fields.items()]


def _row(name: str, field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, Path):
        default = default.name
    shown = "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"| `{ENV_PREFIX}{name.upper()}` | {shown} | {_bounds(field)} | {field.description} |"


def _bounds(field: FieldInfo) -> str:
    """Return the bounds column of a setting."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = []
    for constraint in field.metadata:
        for name, form in _BOUNDS.items():
            value = getattr(constraint, name, None)
            if value is not None:
                bounds.append(form.format(value).replace("|", "\\|"))
    return ", ".join(bounds)


# With UPREZ_TEST_WRITE_DOCS=1 this test writes the page.
def test_page_lists_every_setting() -> None:
    text = PAGE.read_text("utf-8")
    head, _, _ = text.partition("| variable |")
    table = (
        "\n".join(["| variable | default | bounds | meaning |", "| --- | --- | --- | --- |", *rows()]) + "\n"
    )
    if os.environ.get("UPREZ_TEST_WRITE_DOCS"):
        PAGE.write_text(head + table, "utf-8")
        text = head + table

    assert text == head + table


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


# The column of defaults is empty for these, because their default depends on other settings.
def test_description_states_a_computed_default() -> None:
    computed = {
        name: field.description for name, field in Settings.model_fields.items() if field.default is None
    }

    assert [name for name, description in computed.items() if "Default: " not in (description or "")] == []


@pytest.mark.parametrize(("suffix", "unit"), [("_seconds", "in seconds"), ("_pixels", "in pixels")])
def test_description_states_the_unit(suffix: str, unit: str) -> None:
    fields = {name: field for name, field in Settings.model_fields.items() if name.endswith(suffix)}

    assert [name for name, field in fields.items() if unit not in (field.description or "")] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPREZ_PORT", "abc"),
        ("UPREZ_PORT", "70000"),
        ("UPREZ_DEVICE", "gpu"),
        ("UPREZ_DEVICE", "auto,cpu"),
        ("UPREZ_DEVICE", "vulkan:0,"),
        ("UPREZ_PRECISION", "fp64"),
        ("UPREZ_MODEL_CHOICES", "best=realesrgan-x4plus"),
        ("UPREZ_MODEL_CHOICES", "photo=a,photo=b"),
        ("UPREZ_MODEL_CHOICES", "photo=auto"),
        ("UPREZ_LEASE_SECONDS", "0"),
        ("UPREZ_PUBLIC_URL", "not a url"),
        ("UPREZ_LOG_LEVEL", "loud"),
        ("UPREZ_MAIL_FROM", "no-address"),
        ("UPREZ_MAIL_FROM", "one@example.com, two@example.com"),
        ("UPREZ_MAIL_FROM", "a@"),
        ("UPREZ_DATA", "~no-such-user/data"),
        ("UPREZ_MAIL_FROM", "x <"),
        ("UPREZ_MAIL_FROM", "a@exa mple.com"),
        ("UPREZ_RESET_LINK_SECONDS", "59"),
        ("UPREZ_TRUSTED_PROXIES", "proxy.example.com"),
        ("UPREZ_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.1/8"),
    ],
)
def test_invalid_setting_is_reported_with_reason(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=rf"{variable} is invalid \('{value}'\): ."):
        load_settings()


def test_repeated_device_is_rejected() -> None:
    with pytest.raises(SettingsError, match="vulkan:1 is listed more than once"):
        load_settings(device="vulkan:1,cpu,vulkan:1")

    assert load_settings(device="vulkan:1,cpu").device == "vulkan:1,cpu"


# Keys and passwords must not appear on the console.
@pytest.mark.parametrize("variable", ["UPREZ_SECRET_KEY", "UPREZ_MAIL_URL"])
def test_error_hides_a_secret_value(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hunter2")

    with pytest.raises(SettingsError, match=rf"{variable} is invalid \(value hidden\)") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "short", "ä" * 40])
def test_key_file_without_a_key_is_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content, "utf-8")

    with pytest.raises(SettingsError, match="does not contain a valid key"):
        load_secret_key(load_settings(data=tmp_path))


def test_data_folder_is_private(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "new")
    load_secret_key(settings)

    assert settings.data.stat().st_mode & 0o777 == 0o700


def test_error_lists_every_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_PORT", "abc")
    monkeypatch.setenv("UPREZ_API_THREADS", "0")

    with pytest.raises(SettingsError, match=r"(?s)UPREZ_PORT.*UPREZ_API_THREADS"):
        load_settings()


def test_option_overrides_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_PORT", "1234")

    assert load_settings(port=None).port == 1234
    assert load_settings(port=4321).port == 4321


def test_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, port=0, public_url="https://images.example.com", tile_threads=3)

    for name, value in child_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize("metadata", ["keep", "strip-location", "strip"])
def test_metadata_policy_reaches_the_engine(metadata: str) -> None:
    assert load_settings(metadata=metadata).engine_options().metadata == metadata


def test_requests_can_select_models_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().policy().model_choices == {
        "photo": X4PLUS.name,
        "anime": X4PLUS_ANIME.name,
        "fast": ANIMEVIDEO.name,
    }
    monkeypatch.setenv("UPREZ_MODEL_CHOICES", "")
    assert load_settings().policy().model_choices == {}


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({"port": 8000}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"public_url": "https://images.example.com/"}, "https://images.example.com"),
    ],
)
def test_links_start_with_a_reachable_address(options: dict[str, Any], origin: str) -> None:
    assert load_settings(**options).origin == origin


def test_secret_key_is_created_once_and_private(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "new")

    key = load_secret_key(settings)
    assert len(key) == 64
    assert load_secret_key(settings) == key
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert load_secret_key(load_settings(data=tmp_path, secret_key="k" * 32)) == "k" * 32


# Environment files often list every variable, with an empty value for unused ones.
def test_empty_models_setting_means_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_MODELS", "")

    assert load_settings().engine_options().models is None
