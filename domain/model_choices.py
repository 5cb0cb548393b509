"""The values that a request may send as ``model``, and the engine's model for each of them."""

from __future__ import annotations

import re

AUTO = "auto"
"""This value is always available: the engine chooses the model."""
WORDS = ("photo", "anime", "fast")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def parse(text: str) -> dict[str, str]:
    """Return the model name for each word in ``"photo=realesrgan-x4plus,fast=realesr-animevideov3"``.

    Spaces around words and names are ignored; an empty text has no words. Raise ValueError if the text is malformed.
    Only the engine checks that a model of that name exists.
    """
    choices: dict[str, str] = {}
    for choice in text.split(",") if text.strip() else []:
        word, _, name = map(str.strip, choice.partition("="))
        if word not in WORDS:
            raise ValueError(f"each choice is WORD=MODEL, where WORD is one of {', '.join(WORDS)}")
        if word in choices:
            raise ValueError(f"{word} occurs more than once")
        if name == AUTO or not _NAME.fullmatch(name):
            raise ValueError(f"{word} needs the name of a model")
        choices[word] = name
    return choices
