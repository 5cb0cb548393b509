"""Hooks that give Schemathesis image files, existing ids and a check of the envelope.

Loaded by ``schemathesis run`` through SCHEMATHESIS_HOOKS; ``test_every_operation.py`` writes the file of facts.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests
import schemathesis
import yaml
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from PIL import Image
from schemathesis.transport.serialization import Binary

from domain import batches, password_reset, tokens
from domain.database.unit_of_work import Database
from domain.links import LinkSigner
from uprez.adapters.system import SystemClock, SystemRandomSource

FACTS = json.loads(Path(os.environ["UPREZ_TEST_CONTRACT_FACTS"]).read_text("utf-8"))
REACHED = Path(os.environ["UPREZ_TEST_CONTRACT_REACHED"])
_FORMATS = ("jpeg", "png", "webp", "bmp", "tiff", "gif")
_AUTHORIZATION = f"Bearer {FACTS['token']}"
_REVOKING_PATHS = {"/auth/logout", "/auth/revoke-all"}
_KNOWN_IDS = {
    "/user/tokens/{id}": FACTS["token_id"],
    "/images/{id}": FACTS["image_id"],
    "/images/{id}/download": FACTS["image_id"],
    "/batches/{id}": FACTS["batch_id"],
}
_LARGEST_ID = 2**63 - 1
_PATHS_WITHOUT_ENVELOPE = {"/files/{key}", "/profile-photos/{initials}"}

_CONTRACT = yaml.safe_load(Path(os.environ["UPREZ_TEST_CONTRACT"]).read_text("utf-8"))
_REGISTRATION = OAS30Validator(_CONTRACT["components"]["schemas"]["Registration"])
_LOGIN = OAS30Validator(_CONTRACT["components"]["schemas"]["Login"])
_RESET = OAS30Validator(_CONTRACT["components"]["schemas"]["PasswordReset"])

_DATABASE = Database(FACTS["database_url"])
_reached: Counter[tuple[str, str, int]] = Counter()
_numbers = itertools.count(1)
_lock = threading.Lock()


def _encode_image(image_format: str, side: int, grey: int) -> bytes:
    """Return an image file of ``side`` × ``side + 1`` pixels."""
    content = io.BytesIO()
    Image.new("RGB", (side, side + 1), (grey, 255 - grey, 90)).save(content, image_format.upper())
    return content.getvalue()


for _format in _FORMATS:
    schemathesis.openapi.media_type(
        f"image/{_format}",
        st.builds(_encode_image, st.just(_format), st.integers(1, 12), st.integers(0, 255)),
    )


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Replace about half of the generated ids and signatures, which rarely exist, by existing ones."""
    if not path_parameters:
        return path_parameters
    known = dict(path_parameters)
    if "hash" in known and len(str(known["hash"])) % 2:
        known |= {"id": FACTS["account_id"], "hash": FACTS["verification_hash"]}
    elif "hash" not in known and isinstance(known.get("id"), int) and known["id"] % 2:
        known["id"] = _KNOWN_IDS[context.operation.path]
    elif "key" in known and len(str(known["key"])) % 2:
        known["key"] = FACTS["file_key"]
    return known


_FORMS = {"/images/upscale", "/batches"}
_OPTIONS = {"model", "scale_factor", "target_width", "target_height"}
_INVALID = "?"
"""A value that none of the options accepts."""


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Replace some generated bodies by bodies that the server accepts.

    Most logins get the right password, because generated passwords fail and repeated failures block the account.
    About half of the password resets get a valid token of another account, which generated tokens never are.
    About half of the registrations get a new address and a password that keeps the rules. In a form, an empty value
    counts as not sent: where it was generated as an invalid one, another invalid value takes its place.
    """
    if context.operation.path in _FORMS and isinstance(body, dict):
        return {name: _INVALID if value == "" and name in _OPTIONS else value for name, value in body.items()}
    if context.operation.path == "/auth/register":
        return (
            body
            if not _REGISTRATION.is_valid(body) or len(body["email"]) % 2
            else {**body, **_new_registration()}
        )
    if context.operation.path == "/auth/reset-password":
        return body if not _RESET.is_valid(body) or len(body["email"]) % 2 else {**body, **_valid_reset()}
    if context.operation.path != "/auth/login" or not _LOGIN.is_valid(body) or len(body["email"]) % 16 == 1:
        return body
    return {**body, "email": FACTS["email"], "password": FACTS["password"]}


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change a request so that it does not destroy what later requests need."""
    # An operation that revokes tokens gets a new token of another account.
    if case.operation.path in _REVOKING_PATHS and (case.headers or {}).get("Authorization") == _AUTHORIZATION:
        case.headers["Authorization"] = f"Bearer {_token_of_another_account()}"
    # Schemathesis applies the media type of a part to the whole list; the contract means each of several files.
    files = case.body.get("images[]") if isinstance(case.body, dict) else None
    if isinstance(files, bytes | Binary) and case.meta.generation.mode.is_positive:
        content = files if isinstance(files, bytes) else files.data
        texts = [(name, (None, str(value))) for name, value in case.body.items() if value is not files]
        kwargs["files"] = [*texts, *[("images[]", ("image", content))] * 2]
    # A DELETE of a shared resource gets a new resource instead. Compared as text, because "1" in a path is the id 1.
    path = case.operation.path
    if case.operation.method == "delete" and str(case.path_parameters.get("id")) == str(_KNOWN_IDS[path]):
        case.path_parameters["id"] = _CREATE[path]()
    # The first DELETE cancels an unfinished batch, the second removes it. Cancelled here, this request is the second.
    if (case.operation.method, path) == ("delete", "/batches/{id}") and _AUTHORIZATION in (
        case.headers or {}
    ).values():
        _cancel(case.path_parameters["id"])


@schemathesis.check
def expect_envelope(_context: Any, response: Any, case: Any) -> None:
    """Record the status of the operation, and check headers and envelope of the response."""
    with _lock:
        _reached[case.operation.method.upper(), case.operation.path, response.status_code] += 1
        REACHED.write_text(json.dumps([[*key, count] for key, count in _reached.items()]), "utf-8")
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == ["nosniff"]
    assert "server" not in response.headers
    media_type = response.headers["content-type"][0] if "content-type" in response.headers else ""
    if response.status_code < 400 and (
        case.operation.path in _PATHS_WITHOUT_ENVELOPE or media_type.startswith("text/html")
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


def _cancel(batch_id: object) -> None:
    """Cancel a batch in the database; a DELETE would remove a batch that has just finished."""
    if not str(batch_id).isdecimal() or int(str(batch_id)) > _LARGEST_ID:
        return
    with _DATABASE.writing() as work:
        batch = work.batches.locked(int(str(batch_id)))
        if batch is not None and not batch.status.is_terminal:
            batches.cancel(work, batch, work.images.locked_of(batch.id), SystemClock().now())
            work.commit()


def _new_registration() -> dict[str, str]:
    """Return a valid registration with a new address, also for runs with other seeds."""
    password = FACTS["password"]
    email = f"new{os.getpid()}.{next(_numbers)}@example.com"
    return {"email": email, "password": password, "password_confirmation": password}


def _token_of_another_account() -> str:
    """Issue a token of another account in the database, where no rate limit applies."""
    with _DATABASE.writing() as work:
        other = work.accounts.get(FACTS["other_id"])
        assert other is not None
        token = tokens.issue(work, SystemRandomSource(), other, "to be revoked", SystemClock().now())
        work.commit()
    return token


def _valid_reset() -> dict[str, str]:
    """Return a password reset with a valid token of another account."""
    with _DATABASE.reading() as work:
        other = work.accounts.get(FACTS["other_id"])
    assert other is not None
    links, end = LinkSigner(FACTS["secret_key"]), SystemClock().now() + timedelta(minutes=1)
    password = {"password": FACTS["password"], "password_confirmation": FACTS["password"]}
    return {"email": other.email, "token": password_reset.token_for(links, other, end), **password}


def _new_image() -> int:
    return _create("/images/upscale", files={"image": ("own.png", _encode_image("png", 2, 7))})


def _new_batch() -> int:
    return _create("/batches", files={"images[]": ("own.png", _encode_image("png", 2, 7))})


def _new_token() -> int:
    return _create("/user/tokens", json={"name": "to be revoked"})


_CREATE = {"/images/{id}": _new_image, "/batches/{id}": _new_batch, "/user/tokens/{id}": _new_token}


def _create(path: str, **body: Any) -> int:
    """Create a resource with the API and return its id."""
    headers = {"Authorization": f"Bearer {FACTS['token']}"}
    response = requests.post(f"{FACTS['api']}{path}", headers=headers, timeout=60, **body)
    resource_id: int = response.json()["data"]["id"]
    return resource_id
