"""The words by which a request may choose a model, and the engine's model that each of them stands for."""

from __future__ import annotations

import re

AUTO = "auto"
"""Is always offered: the engine's own choice."""
WORDS = ("photo", "anime", "fast")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def parse(text: str) -> dict[str, str]:
    """``"photo=realesrgan-x4plus,fast=realesr-animevideov3"``, spaces around each allowed; nothing means no word.

    Raises ValueError. Whether there is a model of that name, only an engine knows.
    """
    choices: dict[str, str] = {}
    for choice in text.split(",") if text.strip() else []:
        word, _, name = map(str.strip, choice.partition("="))
        if word not in WORDS:
            raise ValueError(f"each choice is WORD=MODEL, the word one of {', '.join(WORDS)}")
        if word in choices:
            raise ValueError(f"{word} is given more than once")
        if name == AUTO or not _NAME.fullmatch(name):
            raise ValueError(f"{word} needs the name of a model")
        choices[word] = name
    return choices
