"""Hooks and checks for Schemathesis: images, existing ids, and protection of data that the kit did not create.

``schemathesis run`` loads this module through SCHEMATHESIS_HOOKS. ``conformance.fuzzing.schemathesis_run`` starts it, passes
the facts in UPREZ_KIT_FACTS, and reads the ids of created items from the file that this module writes.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.transport.serialization import Binary

from conformance.contract import response_schema, schema_problems
from conformance.images.samples import EXTENSIONS, FORMATS, MEDIA_TYPES, decode, detect_format, encode

_TOKEN = os.environ["UPREZ_KIT_TOKEN"]
_FACTS = json.loads(os.environ["UPREZ_KIT_FACTS"])
_CREATED_FILE = Path(_FACTS["made"])
_KNOWN_IDS: dict[str, int | None] = {
    "/images/{id}": _FACTS["image_id"],
    "/images/{id}/download": _FACTS["image_id"],
    "/batches/{id}": _FACTS["batch_id"],
}
_UPLOADS = {"/images/upscale": "image", "/batches": "images[]"}
# For DELETE: larger than any assigned id, and still exact in every JSON parser.
_UNUSED_ID = 9_007_199_254_000_000
_MODES = {"jpeg": ("RGB", "L"), "bmp": ("RGB", "L"), "gif": ("L", "P")}  # the other formats also have alpha
_MAX_SIDE = 11
Form = list[tuple[str, tuple[str | None, str | bytes]]]

_lock = threading.Lock()
_turn = itertools.count()
_made: dict[str, set[int]] = {"/images": set(), "/batches": set()}
_deleted: set[int] = set()  # images
_bad: dict[str, str] = {}  # by the id of a case: the fault of its image


def _image(image_format: str, mode: str, width: int, height: int, level: int) -> bytes:
    """Return a file of one gray ``level`` (0 to 255); the size is in pixels and ``mode`` is one of Pillow."""
    image = Image.new("L", (width, height), level).convert(mode)
    return encode(image, image_format)


def _images(image_format: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for small images of this format, in all its modes and colours."""
    side = st.integers(2, _MAX_SIDE)
    modes = st.sampled_from(_MODES.get(image_format, ("RGB", "RGBA", "L")))
    return st.builds(_image, st.just(image_format), modes, side, side, st.integers(0, 255))


for _format in FORMATS:
    schemathesis.openapi.media_type(MEDIA_TYPES[_format], _images(_format))


# Hypothesis needs seconds to build its character tables: do it before the time for requests begins.
st.characters(codec="utf-8").validate()


def corrupt(image: bytes, turn: int) -> tuple[str, bytes]:
    """Return a description and a file that no image decoder accepts; ``turn`` selects the kind and the noise.

    If Pillow can read that file after all, return an HTML page.
    """
    random = Random(turn)  # noqa: S311  # repeatable, not secret
    kinds: tuple[tuple[str, bytes], ...] = (
        ("an empty file", b""),
        ("an HTML page", b"<!DOCTYPE html><html><body>no image</body></html>"),
        ("the first eight bytes of an image and then noise", image[:8] + random.randbytes(200)),
        ("only the first twelve bytes of an image", image[:12]),
        ("noise", b"\0" + random.randbytes(200)),
    )
    what, content = kinds[turn % len(kinds)]
    return (what, content) if _unreadable(content) else kinds[1]


def _unreadable(content: bytes) -> bool:
    """Return whether Pillow cannot decode the content."""
    try:
        decode(content)
    except Exception:  # noqa: BLE001  # Pillow raises many types
        return True
    return False


_VALID_PNG = _image("png", "RGB", 6, 5, 99)


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Replace odd generated ids by an existing one, and ids divisible by 4 on image paths by a deleted one.

    Generated ids rarely exist. Return the parameters unchanged for other ids and if no such item is known.
    """
    generated = (path_parameters or {}).get("id")
    if path_parameters is None or not isinstance(generated, int) or generated < 1:
        return path_parameters
    path = context.operation.path
    known = _KNOWN_IDS.get(path) if generated % 2 else None
    if generated % 4 == 0 and _deleted and path.startswith("/images"):
        known = max(_deleted)
    return path_parameters if known is None else {**path_parameters, "id": known}


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change the case before it is sent: add the token, protect other clients' items, replace images.

    The token is added unless anonymous requests are sent. The id of a changing request becomes an own or
    unused one.
    """
    if not _FACTS["anonymous"]:
        case.headers["Authorization"] = f"Bearer {_TOKEN}"
    if case.method.upper() not in {"GET", "HEAD"} and "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = _own_or_unused(case.operation.path, case.path_parameters["id"])
    field = _UPLOADS.get(case.path)
    if field and case.method.upper() == "POST" and isinstance(case.body, dict):
        form = _valid_form(case, field) if _is_positive(case) else _invalid_form(case, field)
        if form:
            kwargs["files"] = form


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Record a deleted image, and write the id of an image or batch with a status below 300 to the file.

    It is written at once, so that the kit can delete the item after any failure. Other responses change
    nothing.
    """
    if (case.method.upper(), case.path, response.status_code) == ("DELETE", "/images/{id}", 200):
        _deleted.add(int(case.path_parameters["id"]))
    if (
        case.path not in _UPLOADS
        or case.method.upper() != "POST"
        or response.status_code >= HTTPStatus.MULTIPLE_CHOICES
    ):
        return
    try:
        made = json.loads(response.content)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(made, int):
        where = "/images" if case.path == "/images/upscale" else "/batches"
        with _lock:
            _made[where].add(made)
            with _CREATED_FILE.open("a") as file:
                file.write(f"{where} {made}\n")


@schemathesis.check
def unreadable_image_is_rejected(_context: Any, response: Any, case: Any) -> None:
    """Check that an upload of an unreadable image does not return a status below 300."""
    what = _bad.get(case.id)
    assert what is None or response.status_code >= HTTPStatus.MULTIPLE_CHOICES, (
        f"A file that is {what} was accepted as an image."
    )


@schemathesis.check
def valid_image_is_accepted(_context: Any, response: Any, case: Any) -> None:
    """Check that an upload without a fault returns 202, 403, 429 or 503.

    Only uploads with a name and factor 2 at most are checked: a plan or the small image may not allow other
    sizes.
    """
    if (
        case.path not in _UPLOADS
        or case.method.upper() != "POST"
        or case.id in _bad
        or not _is_positive(case)
    ):
        return
    if set(case.body) <= {_UPLOADS[case.path], "name", "scale_factor"} and _has_factor_two(case):
        # 403: no quota left, or a plan without batches; 429 and 503: temporary.
        assert response.status_code in {HTTPStatus.ACCEPTED, 403, 429, 503}, (
            f"A valid image returned {response.status_code}."
        )


@schemathesis.check
def deleted_image_stays_deleted(_context: Any, response: Any, case: Any) -> None:
    """Check that no 200 to a GET of ``/images…`` shows an image that this process has deleted.

    The list must not hold the id of a deleted image; every other path below ``/images/`` must not have it as its id.
    Raise AssertionError otherwise. Other paths, such as batches, are not checked, and a list that cannot be read
    passes. The check of Schemathesis itself knows only one sequence of requests.
    """
    if (
        case.method.upper() != "GET"
        or response.status_code != HTTPStatus.OK
        or not case.path.startswith("/images")
    ):
        return
    if case.path == "/images":
        with suppress(ValueError, KeyError, TypeError):
            reappeared = _deleted & {image["id"] for image in json.loads(response.content)["data"]}
            assert not reappeared, f"The list holds {sorted(reappeared)}, which were deleted."
    else:
        requested = str(case.path_parameters["id"])
        assert not (requested.isdecimal() and int(requested) in _deleted), f"Image {requested} was deleted."


@schemathesis.check
def body_matches_schema(_context: Any, response: Any, case: Any) -> None:
    """Check the body against the relaxed schema of the contract; replace the check of Schemathesis.

    Responses to HEAD, without a documented JSON schema, or not in JSON pass.
    """
    pointer = response_schema(case.method, case.path, response.status_code)
    if pointer is None or case.method.upper() == "HEAD":
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        return  # body_is_envelope reports this
    found = schema_problems(pointer, body)
    assert not found, f"The response does not match its schema: {'; '.join(found[:3])}"


@schemathesis.check
def body_is_envelope(_context: Any, response: Any, case: Any) -> None:
    """Check that the body is a JSON object with `message` and the right `success`, and without other members.

    A success (below 400) may also have data, meta and links, a 422 errors. HEAD and 304 pass.
    """
    if case.method.upper() == "HEAD" or response.status_code == HTTPStatus.NOT_MODIFIED:
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        raise AssertionError("The response is not JSON.") from None
    assert isinstance(body, dict), "The response is not a JSON object."
    assert isinstance(body.get("message"), str), "`message` is missing or not a string."
    is_success = response.status_code < HTTPStatus.BAD_REQUEST
    assert body.get("success") is is_success, (
        f"`success` is {body.get('success')!r} in a {response.status_code}."
    )
    members = {"success", "message"} | ({"data", "meta", "links"} if is_success else set())
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        members.add("errors")
    assert set(body) <= members, (
        f"The envelope has additional members: {', '.join(sorted(set(body) - members))}."
    )


def _has_factor_two(case: Any) -> bool:
    """Return whether the scale factor is 2 or missing; a generated 2.0 is not."""
    factor: object = case.body.get("scale_factor", 2)
    return str(factor) == "2"  # and not 2.0


def _is_positive(case: Any) -> bool:
    """Return whether the case was generated as valid; False without that information."""
    return bool(case.meta is not None and case.meta.generation.mode.is_positive)


def _valid_form(case: Any, field: str) -> Form:
    """Return a form with a file name and, for a batch, two images; an empty one if the field is no image.

    Every second image is replaced by an unreadable one, which ``_bad`` then has, but in sequences only when
    the quota for this run is used up. Sequences leave out all other fields: most sizes do not fit such small
    images.
    """
    value = case.body.get(field)
    content = _bytes(value[0] if isinstance(value, list) and value else value)
    if detect_format(content) is None:
        return []
    with _lock:
        turn = next(_turn)
    stateful = case.meta.phase.name == "stateful"
    name = f"{_FACTS['tag']}{EXTENSIONS[str(detect_format(content))]}"
    if _is_budget_used() or (turn % 2 and not stateful):
        _bad[case.id], content = corrupt(content, turn // 2)
    texts = {key: text for key, text in case.body.items() if key != field and not stateful}
    return _form(texts, field, [(name, content)] * (2 if field == "images[]" else 1))


def _invalid_form(case: Any, field: str) -> Form:
    """Return a form with the generated faults and valid images: the image must not be the reason for the 422.

    Return an empty one if the image's field has the fault, a text is empty (it may count as missing), the
    phase is another than fuzzing and stateful, or the quota for this run is used up.
    """
    value = case.body.get(field)
    values = value if isinstance(value, list) else [value]
    texts = {key: text for key, text in case.body.items() if key != field}
    are_texts = all(isinstance(text, str | int | float) and text != "" for text in texts.values())
    are_files = all(isinstance(one, str | bytes | Binary) for one in values)
    if (
        case.meta.phase.name not in {"fuzzing", "stateful"}
        or not (are_texts and are_files)
        or _is_budget_used()
    ):
        return []
    return _form(texts, field, [(f"{_FACTS['tag']}.png", _VALID_PNG)] * len(values))


def _form(texts: dict[str, Any], field: str, files: list[tuple[str, bytes]]) -> Form:
    """Return the parts of a multipart form: the texts, then all files under ``field``."""
    return [*((key, (None, str(text))) for key, text in texts.items()), *((field, file) for file in files)]


def _bytes(value: Any) -> bytes:
    """Return the content of a generated value; anything but bytes as text in UTF-8."""
    if isinstance(value, Binary):
        value = value.data
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _is_budget_used() -> bool:
    """Return whether the created items used the quota for this round; a batch counts as two images."""
    budget: int = _FACTS["uploads"]
    with _lock:
        return len(_made["/images"]) + 2 * len(_made["/batches"]) >= budget


def _own_or_unused(path: str, generated: Any) -> Any:
    """Return the id if the kit created it, or 0; otherwise an id that the kit created or a similar unused id.

    In other text all digits become an unused id, so that a lenient server cannot read an existing one.
    """
    own = _made["/images" if path.startswith("/images") else "/batches"]
    if str(generated).isascii() and str(generated).isdecimal() and int(generated) in own:
        return generated
    if generated == 0:
        return generated
    if isinstance(generated, int) and generated > 0:
        return max(own) if own and generated % 2 else _UNUSED_ID + generated % 1000
    # A lenient server may read `0042`, `4e1`, `-42`, `42.0` or a full-width `42` as an existing id.
    return re.sub(r"\d+", str(_UNUSED_ID), str(generated))
