"""What Schemathesis must know of our API beyond its contract: pictures, ids that exist, and the envelope.

Loaded by ``schemathesis run`` through SCHEMATHESIS_HOOKS; the test beside it writes the facts file.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import requests
import schemathesis
import yaml
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from PIL import Image

FACTS = json.loads(Path(os.environ["UPREZ_TEST_CONTRACT_FACTS"]).read_text("utf-8"))
REACHED = Path(os.environ["UPREZ_TEST_CONTRACT_REACHED"])
_FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
_ANSWERS_WITHOUT_ENVELOPE = {"/files/{key}", "/profile-photos/{initials}"}

_CONTRACT = yaml.safe_load(Path(os.environ["UPREZ_TEST_CONTRACT"]).read_text("utf-8"))
_LOGIN = OAS30Validator(_CONTRACT["components"]["schemas"]["Login"])

_SPARE_TOKENS: list[str] = FACTS["spare_tokens"]
_reached: Counter[tuple[str, str, int]] = Counter()
_lock = threading.Lock()


def _picture(picture_format: str, side: int, grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side + 1), (grey, 255 - grey, 90)).save(content, picture_format.upper())
    return content.getvalue()


for _format in _FORMATS:
    schemathesis.openapi.media_type(
        f"image/{_format}",
        st.builds(_picture, st.just(_format), st.integers(1, 12), st.integers(0, 255)),
    )


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Generated ids and signatures hardly ever exist; every other one becomes one that does."""
    if not path_parameters:
        return path_parameters
    known = dict(path_parameters)
    if "hash" in known and len(str(known["hash"])) % 2:
        known |= {"id": FACTS["account_id"], "hash": FACTS["verification_hash"]}
    elif "hash" not in known and isinstance(known.get("id"), int) and known["id"] % 2:
        known["id"] = FACTS["image_id"]
    elif "key" in known and len(str(known["key"])) % 2:
        known["key"] = FACTS["file_key"]
    return known


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Nobody guesses a password, and who guesses too often is shut out: most logins get the right one."""
    if context.operation.path != "/auth/login" or not _LOGIN.is_valid(body) or len(body["email"]) % 16 == 1:
        return body
    return {**body, "email": FACTS["email"], "password": FACTS["password"]}


@schemathesis.auth(refresh_interval=None)
class Token:
    """Logging out ends the token that asks, so that operation has a new one each time."""

    def get(self, _case: Any, _context: Any) -> str:
        return str(FACTS["token"])

    def set(self, case: Any, token: str, _context: Any) -> None:
        if case.operation.path == "/auth/logout":
            token = _SPARE_TOKENS.pop()
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    # The image that the others look at stays; one of its own goes instead.
    deletes = case.operation.path == "/images/{id}" and case.operation.method == "delete"
    if deletes and case.path_parameters.get("id") == FACTS["image_id"]:
        case.path_parameters["id"] = _new_image()


@schemathesis.check
def answers_in_the_envelope(_context: Any, response: Any, case: Any) -> None:
    with _lock:
        _reached[case.operation.method.upper(), case.operation.path, response.status_code] += 1
        REACHED.write_text(json.dumps([[*key, count] for key, count in _reached.items()]), "utf-8")
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == ["nosniff"]
    assert "server" not in response.headers
    media_type = response.headers["content-type"][0] if "content-type" in response.headers else ""
    if response.status_code < 400 and (
        case.operation.path in _ANSWERS_WITHOUT_ENVELOPE or media_type.startswith("text/html")
    ):
        return
    assert media_type == "application/json"
    if case.method == "HEAD":
        return
    body = json.loads(response.content)
    assert isinstance(body["message"], str)
    if response.status_code < 400:
        assert body["success"] is True
        assert set(body) <= {"success", "message", "data", "meta", "links"}
    else:
        assert body["success"] is False
        assert set(body) == {"success", "message"} | ({"errors"} if response.status_code == 422 else set())


def _new_image() -> int:
    answer = requests.post(
        f"{FACTS['api']}/images/upscale",
        headers={"Authorization": f"Bearer {FACTS['token']}"},
        files={"image": ("own.png", _picture("png", 2, 7))},
        timeout=10,
    )
    image_id: int = answer.json()["data"]["id"]
    return image_id
