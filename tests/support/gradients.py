"""Image files with a gradient, for tests that need a real file with any content."""

from __future__ import annotations

import io
from typing import Any, Protocol

from PIL import Image


def gradient(image_format: str = "PNG", width: int = 8, height: int = 6, **options: Any) -> bytes:
    """Return an encoded gradient; ``options`` are those of Pillow's encoder."""
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, image_format, **options)
    return content.getvalue()


class MakeGradient(Protocol):
    """The type of ``gradient``."""

    def __call__(
        self, image_format: str = ..., width: int = ..., height: int = ..., **options: Any
    ) -> bytes: ...
