"""Tests of the errors that a child sends by code."""

from __future__ import annotations

import pytest

from workers.engine.errors import (
    EngineUnusable,
    ManifestError,
    NoUsableDevice,
    UnknownDevice,
    UnknownModel,
    WeightsError,
    unusable_error,
)


@pytest.mark.parametrize(
    "kind", [EngineUnusable, ManifestError, NoUsableDevice, UnknownDevice, UnknownModel, WeightsError]
)
def test_code_gives_the_error_of_this_class(kind: type[EngineUnusable]) -> None:
    error = unusable_error(kind.code, "no such card")

    assert type(error) is kind
    assert str(error) == "no such card"


def test_unknown_code_gives_the_general_error() -> None:
    assert type(unusable_error("code_of_another_version", "no such card")) is EngineUnusable
