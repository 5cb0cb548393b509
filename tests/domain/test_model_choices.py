from __future__ import annotations

import pytest

from domain import model_choices


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", {}),
        ("  ", {}),
        ("fast=realesr-animevideov3", {"fast": "realesr-animevideov3"}),
        ("fast=a, photo = b.v2_1 ,anime=3", {"fast": "a", "photo": "b.v2_1", "anime": "3"}),
        (f"photo={'x' * 64}", {"photo": "x" * 64}),
    ],
)
def test_each_word_is_mapped_to_its_model(text: str, choices: dict[str, str]) -> None:
    parsed = model_choices.parse(text)

    assert parsed == choices
    assert list(parsed) == list(choices)  # clients see the words in this order


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("auto=realesrgan-x4plus", "where WORD is one of photo, anime, fast"),
        ("best=realesrgan-x4plus", "where WORD is one of photo, anime, fast"),
        ("Photo=realesrgan-x4plus", "where WORD is one of photo, anime, fast"),
        ("realesrgan-x4plus", "each choice is WORD=MODEL"),
        ("photo=a,", "each choice is WORD=MODEL"),
        (",", "each choice is WORD=MODEL"),
        ("photo", "photo needs the name of a model"),
        ("photo=", "photo needs the name of a model"),
        ("photo=auto", "photo needs the name of a model"),
        ("photo=a=b", "photo needs the name of a model"),
        ("photo=../a", "photo needs the name of a model"),
        ("photo=.a", "photo needs the name of a model"),
        ("photo=A", "photo needs the name of a model"),
        (f"photo={'x' * 65}", "photo needs the name of a model"),
        ("photo=a,fast=a,photo=b", "photo occurs more than once"),
    ],
)
def test_malformed_choices_are_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        model_choices.parse(text)
