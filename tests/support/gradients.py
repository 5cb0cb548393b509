"""Encoded gradients, for tests that need a real file and no particular content."""

from __future__ import annotations

import io
from typing import Any, Protocol

from PIL import Image


def gradient(image_format: str = "PNG", width: int = 8, height: int = 6, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, image_format, **options)
    return content.getvalue()


class MakeGradient(Protocol):
    def __call__(
        self, image_format: str = ..., width: int = ..., height: int = ..., **options: Any
    ) -> bytes: ...
