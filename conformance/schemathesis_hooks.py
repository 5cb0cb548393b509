"""What Schemathesis must know beyond the contract: pictures, ids that exist, and what is not the kit's to touch.

Loaded by ``schemathesis run`` as the module that SCHEMATHESIS_HOOKS names; ``conformance.generated`` starts it,
hands over the facts, and reads what is written here of what was made.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from pathlib import Path
from random import Random
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.transport.serialization import Binary

from conformance.contract import problems, response_schema
from conformance.pictures import EXTENSIONS, FORMATS, MEDIA_TYPES, encoded, format_of, opened

_TOKEN = os.environ["UPREZ_KIT_TOKEN"]
_FACTS = json.loads(os.environ["UPREZ_KIT_FACTS"])
_MADE = Path(_FACTS["made"])
_KNOWN_IDS: dict[str, int | None] = {
    "/images/{id}": _FACTS["image_id"],
    "/images/{id}/download": _FACTS["image_id"],
    "/batches/{id}": _FACTS["batch_id"],
}
_UPLOADS = {"/images/upscale": "image", "/batches": "images[]"}
# Above what a DELETE may reach: nobody has that many images, and JSON readers still know the number exactly.
_NOBODYS_ID = 9_007_199_254_000_000
_CREATED, _ACCEPTED = 202, 300
_MODES = {"jpeg": ("RGB", "L"), "bmp": ("RGB", "L"), "gif": ("L", "P")}  # the others know alpha as well
_LONGEST_SIDE = 12

_lock = threading.Lock()
_turn = itertools.count()
_made: dict[str, set[int]] = {"/images": set(), "/batches": set()}
_bad: dict[str, str] = {}  # by the id of a case: what is wrong with its picture


def _picture(picture_format: str, mode: str, width: int, height: int, level: int) -> bytes:
    image = Image.new("L", (width, height), level).convert(mode)
    return encoded(image, picture_format)


def _pictures(picture_format: str) -> st.SearchStrategy[bytes]:
    side = st.integers(2, _LONGEST_SIDE)
    modes = st.sampled_from(_MODES.get(picture_format, ("RGB", "RGBA", "L")))
    return st.builds(_picture, st.just(picture_format), modes, side, side, st.integers(0, 255))


for _format in FORMATS:
    schemathesis.openapi.media_type(MEDIA_TYPES[_format], _pictures(_format))


def corrupt(picture: bytes, turn: int) -> tuple[str, bytes]:
    """What it is, and a file that no honest reader takes for a picture."""
    random = Random(turn)  # noqa: S311  # to repeat a run
    kinds: tuple[tuple[str, bytes], ...] = (
        ("an empty file", b""),
        ("a page of HTML", b"<!DOCTYPE html><html><body>no picture</body></html>"),
        ("a picture's first eight bytes and then noise", picture[:8] + random.randbytes(200)),
        ("only the first twelve bytes of a picture", picture[:12]),
        ("noise", b"\0" + random.randbytes(200)),
    )
    what, content = kinds[turn % len(kinds)]
    return (what, content) if _unreadable(content) else kinds[1]


def _unreadable(content: bytes) -> bool:
    try:
        opened(content)
    except Exception:  # noqa: BLE001  # each format of Pillow's complains in its own way
        return True
    return False


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Generated ids hardly ever exist: every other one becomes one that does."""
    if not path_parameters:
        return path_parameters
    known = _KNOWN_IDS.get(context.operation.path)
    generated = path_parameters.get("id")
    if known is None or not isinstance(generated, int) or generated < 1 or generated % 2 == 0:
        return path_parameters
    return {**path_parameters, "id": known}


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if not _FACTS["anonymous"]:
        case.headers["Authorization"] = f"Bearer {_TOKEN}"
    if case.method.upper() not in {"GET", "HEAD"} and "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = _not_of_others(case.operation.path, case.path_parameters["id"])
    field = _UPLOADS.get(case.path)
    if field and case.method.upper() == "POST" and isinstance(case.body, dict) and _is_positive(case):
        sent = _files(case, field)
        if sent:
            kwargs["files"] = sent


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Writes down what was made, so that the kit can delete it, whatever happens next."""
    if case.path not in _UPLOADS or case.method.upper() != "POST" or response.status_code >= _ACCEPTED:
        return
    try:
        made = json.loads(response.content)["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(made, int):
        where = "/images" if case.path == "/images/upscale" else "/batches"
        with _lock:
            _made[where].add(made)
            with _MADE.open("a") as file:
                file.write(f"{where} {made}\n")


@schemathesis.check
def an_unreadable_picture_is_refused(_context: Any, response: Any, case: Any) -> None:
    what = _bad.get(case.id)
    assert what is None or response.status_code >= _ACCEPTED, (
        f"A file that is {what} was accepted as a picture."
    )


@schemathesis.check
def a_good_picture_is_accepted(_context: Any, response: Any, case: Any) -> None:
    """Where nothing else can be wrong: no size is asked for that a plan or the small picture might not bear."""
    if (
        case.path not in _UPLOADS
        or case.method.upper() != "POST"
        or case.id in _bad
        or not _is_positive(case)
    ):
        return
    if set(case.body) <= {_UPLOADS[case.path], "name", "scale_factor"} and _factor(case) == 2:  # noqa: PLR2004
        # 403: the quota is used up, or the plan has no batches; 429, 503: not now.
        assert response.status_code in {_CREATED, 403, 429, 503}, (
            f"A good picture was answered with {response.status_code}."
        )


@schemathesis.check
def keeps_the_schema(_context: Any, response: Any, case: Any) -> None:
    """Instead of Schemathesis's own check, which cannot tell what of the contract binds other servers."""
    pointer = response_schema(case.method, case.path, response.status_code)
    if pointer is None or case.method.upper() == "HEAD":
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        return  # the envelope's business
    found = problems(pointer, body)
    assert not found, f"The answer breaks its schema: {'; '.join(found[:3])}"


@schemathesis.check
def answers_in_the_envelope(_context: Any, response: Any, case: Any) -> None:
    if case.method.upper() == "HEAD" or response.status_code == 304:  # noqa: PLR2004
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        raise AssertionError("The answer is no JSON.") from None
    assert isinstance(body, dict), "The answer is no JSON object."
    assert isinstance(body.get("message"), str), "`message` is missing, or no text."
    good = response.status_code < 400  # noqa: PLR2004
    assert body.get("success") is good, f"`success` is {body.get('success')!r} in a {response.status_code}."
    members = {"success", "message"} | ({"data", "meta", "links"} if good else set())
    if response.status_code == 422:  # noqa: PLR2004
        members.add("errors")
    assert set(body) <= members, f"The envelope has more members: {', '.join(sorted(set(body) - members))}."


def _factor(case: Any) -> int:
    return int(case.body.get("scale_factor", 2))


def _is_positive(case: Any) -> bool:
    return bool(case.meta is not None and case.meta.generation.mode.is_positive)


def _files(case: Any, field: str) -> list[tuple[str, Any]]:
    """The form, with file names, two pictures where several may be sent, and every other time a bad one.

    Only bad ones once as many were accepted as the run may cost of the account's quota.
    """
    value = case.body.get(field)
    first = value[0] if isinstance(value, list) and value else value
    content = first.data if isinstance(first, Binary) else first
    if not isinstance(content, bytes) or format_of(content) is None:
        return []
    with _lock:
        spent = len(_made["/images"]) + 2 * len(_made["/batches"]) >= _FACTS["uploads"]
        turn = next(_turn)
    stateful = case.meta.phase.name == "stateful"
    name = f"{_FACTS['tag']}{EXTENSIONS[str(format_of(content))]}"
    if spent or (turn % 2 and not stateful):
        _bad[case.id], content = corrupt(content, turn // 2)
    texts = [(key, (None, str(text))) for key, text in case.body.items() if key != field]
    return [*texts, *[(field, (name, content))] * (2 if field == "images[]" else 1)]


def _not_of_others(path: str, generated: Any) -> Any:
    """Itself if the kit made it; otherwise one that the kit made, or the like of what nobody has."""
    mine = _made["/images" if path.startswith("/images") else "/batches"]
    if str(generated).isascii() and str(generated).isdecimal() and int(generated) in mine:
        return generated
    if isinstance(generated, int) and generated > 0:
        return max(mine) if mine and generated % 2 else _NOBODYS_ID + generated % 1000
    # A server that reads numbers generously would find one in `0042`, `4e1` or a full-width `42`.
    return re.sub(r"\d+", str(_NOBODYS_ID), generated) if isinstance(generated, str) else generated
