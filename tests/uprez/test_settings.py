"""Settings: bounded, validated at the start, handed on to children, and documented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from project_root import ROOT
from uprez.settings import ENV_PREFIX, Settings, SettingsError, child_environment, load_settings, secret_key
from workers.engine.inference.models import ANIMEVIDEO, X4PLUS, X4PLUS_ANIME

PAGE = ROOT / "docs" / "settings.md"
_BOUNDS = {"ge": "at least", "le": "at most", "min_length": "at least", "pattern": "form"}


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
    words = []
    for constraint in field.metadata:
        for name, word in _BOUNDS.items():
            value = getattr(constraint, name, None)
            if value is not None:
                words.append(
                    f"{word} {value:,}"
                    if isinstance(value, int | float)
                    else f"`{value}`".replace("|", "\\|")
                )
    return ", ".join(words)


# With UPREZ_TEST_WRITE_DOCS=1 the page is written instead.
def test_the_page_lists_every_setting_with_its_default_and_bounds() -> None:
    text = PAGE.read_text("utf-8")
    head, _, _ = text.partition("| variable |")
    table = (
        "\n".join(["| variable | default | bounds | meaning |", "| --- | --- | --- | --- |", *rows()]) + "\n"
    )
    if os.environ.get("UPREZ_TEST_WRITE_DOCS"):
        PAGE.write_text(head + table, "utf-8")
        text = head + table

    assert text == head + table


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


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
        ("UPREZ_MAIL_FROM", "nobody"),
        ("UPREZ_MAIL_FROM", "one@example.com, two@example.com"),
        ("UPREZ_RESET_LINK_SECONDS", "59"),
        ("UPREZ_TRUSTED_PROXIES", "proxy.example.com"),
        ("UPREZ_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.1/8"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_reason(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=f"{variable} cannot be '{value}': ."):
        load_settings()


def test_a_device_that_is_named_twice_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="vulkan:1 is named more than once"):
        load_settings(device="vulkan:1,cpu,vulkan:1")

    assert load_settings(device="vulkan:1,cpu").device == "vulkan:1,cpu"


# A key or a URL with a password is not repeated on the console.
@pytest.mark.parametrize("variable", ["UPREZ_SECRET_KEY", "UPREZ_MAIL_URL"])
def test_what_is_secret_is_refused_without_being_shown(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "hunter2")

    with pytest.raises(SettingsError, match=f"{variable} cannot be what it is") as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "short"])
def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content)

    with pytest.raises(SettingsError, match="is no key; remove it"):
        secret_key(load_settings(data=tmp_path))


def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "new")
    secret_key(settings)

    assert settings.data.stat().st_mode & 0o777 == 0o700


def test_all_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_PORT", "abc")
    monkeypatch.setenv("UPREZ_API_THREADS", "0")

    with pytest.raises(SettingsError, match=r"(?s)UPREZ_PORT.*UPREZ_API_THREADS"):
        load_settings()


def test_an_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_PORT", "1234")

    assert load_settings(port=None).port == 1234
    assert load_settings(port=4321).port == 4321


def test_a_child_process_gets_the_very_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, port=0, public_url="https://pictures.example.com", tile_threads=3)

    for name, value in child_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize("metadata", ["keep", "strip-location", "strip"])
def test_the_engine_is_told_what_to_keep_of_the_metadata(metadata: str) -> None:
    assert load_settings(metadata=metadata).engine_options().metadata == metadata


def test_requests_may_choose_each_of_the_delivered_models_unless_the_operator_says_otherwise(
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
        ({"public_url": "https://pictures.example.com/"}, "https://pictures.example.com"),
    ],
)
def test_links_begin_with_an_address_that_a_client_can_reach(options: dict[str, Any], origin: str) -> None:
    assert load_settings(**options).origin == origin


def test_the_secret_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path / "new")

    key = secret_key(settings)
    assert len(key) == 64
    assert secret_key(settings) == key
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert secret_key(load_settings(data=tmp_path, secret_key="k" * 32)) == "k" * 32


# As files of variables have it that list them all.
def test_an_empty_folder_of_models_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPREZ_MODELS", "")

    assert load_settings().engine_options().models is None
