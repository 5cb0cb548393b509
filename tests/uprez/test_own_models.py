"""Additional models: a request selects one, and the result comes from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests
from own_models import write_own_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TIMEOUT_SECONDS = 120


def test_missing_model_fails_only_its_image(
    new_service: Callable[..., Any], photo: Path, tmp_path: Path
) -> None:
    write_own_model(tmp_path / "models")
    service = new_service(
        UPREZ_MODELS=str(tmp_path / "models"),
        UPREZ_MODEL_CHOICES="photo=mine,anime=gone,fast=realesr-animevideov3",
    ).start()
    bearer = {"Authorization": f"Bearer {service.new_token()}"}

    def upscale(word: str) -> dict[str, Any]:
        files = {"image": photo.read_bytes()}
        posted = requests.post(
            f"{service.api}/images/upscale", headers=bearer, files=files, data={"model": word}, timeout=120
        )
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            url = f"{service.api}/images/{posted.json()['data']['id']}"
            image: dict[str, Any] = requests.get(url, headers=bearer, timeout=120).json()["data"]
            if image["status"] in {"completed", "failed"}:
                return image
            time.sleep(0.05)
        raise AssertionError("The image was not finished in time.")

    done = [upscale(word) for word in ("photo", "anime", "fast", "photo")]

    assert [image["status"] for image in done] == ["completed", "failed", "completed", "completed"]
    assert [image["model"] for image in done] == ["mine", None, "realesr-animevideov3", "mine"]
    assert done[1]["error"] == "There is no model 'gone'."
    # A missing model is not the user's fault, so the failed image uses no quota.
    usage = requests.get(f"{service.api}/usage", headers=bearer, timeout=120).json()["data"]
    assert usage["image_uploads"]["used"] == 3
