"""What Schemathesis must know beyond the contract: pictures, ids that exist, and what is not the kit's to touch.

Loaded by ``schemathesis run`` as the module that SCHEMATHESIS_HOOKS names; ``conformance.fuzzing.schemathesis_run`` starts it,
hands over the facts, and reads what is written here of what was made.
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
_MADE = Path(_FACTS["made"])
_KNOWN_IDS: dict[str, int | None] = {
    "/images/{id}": _FACTS["image_id"],
    "/images/{id}/download": _FACTS["image_id"],
    "/batches/{id}": _FACTS["batch_id"],
}
_UPLOADS = {"/images/upscale": "image", "/batches": "images[]"}
# Above what a DELETE may reach: nobody has that many images, and JSON readers still know the number exactly.
_NOBODYS_ID = 9_007_199_254_000_000
_MODES = {"jpeg": ("RGB", "L"), "bmp": ("RGB", "L"), "gif": ("L", "P")}  # the others know alpha as well
_LONGEST_SIDE = 11
Form = list[tuple[str, tuple[str | None, str | bytes]]]

_lock = threading.Lock()
_turn = itertools.count()
_made: dict[str, set[int]] = {"/images": set(), "/batches": set()}
_deleted: set[int] = set()  # images
_bad: dict[str, str] = {}  # by the id of a case: what is wrong with its picture


def _picture(picture_format: str, mode: str, width: int, height: int, level: int) -> bytes:
    image = Image.new("L", (width, height), level).convert(mode)
    return encode(image, picture_format)


def _pictures(picture_format: str) -> st.SearchStrategy[bytes]:
    side = st.integers(2, _LONGEST_SIDE)
    modes = st.sampled_from(_MODES.get(picture_format, ("RGB", "RGBA", "L")))
    return st.builds(_picture, st.just(picture_format), modes, side, side, st.integers(0, 255))


for _format in FORMATS:
    schemathesis.openapi.media_type(MEDIA_TYPES[_format], _pictures(_format))


# Hypothesis learns once which characters there are, and takes seconds for it: not out of the time for requests.
st.characters(codec="utf-8").validate()


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
        decode(content)
    except Exception:  # noqa: BLE001  # each format of Pillow's complains in its own way
        return True
    return False


_GOOD = _picture("png", "RGB", 6, 5, 99)


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Generated ids hardly ever exist: odd ones become one that does, and some of the others one that did."""
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
    if not _FACTS["anonymous"]:
        case.headers["Authorization"] = f"Bearer {_TOKEN}"
    if case.method.upper() not in {"GET", "HEAD"} and "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = _not_of_others(case.operation.path, case.path_parameters["id"])
    field = _UPLOADS.get(case.path)
    if field and case.method.upper() == "POST" and isinstance(case.body, dict):
        sent = _right_form(case, field) if _is_positive(case) else _wrong_form(case, field)
        if sent:
            kwargs["files"] = sent


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Writes down what was made, so that the kit can delete it, whatever happens next."""
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
            with _MADE.open("a") as file:
                file.write(f"{where} {made}\n")


@schemathesis.check
def an_unreadable_picture_is_refused(_context: Any, response: Any, case: Any) -> None:
    what = _bad.get(case.id)
    assert what is None or response.status_code >= HTTPStatus.MULTIPLE_CHOICES, (
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
    if set(case.body) <= {_UPLOADS[case.path], "name", "scale_factor"} and _is_twice(case):
        # 403: the quota is used up, or the plan has no batches; 429, 503: not now.
        assert response.status_code in {HTTPStatus.ACCEPTED, 403, 429, 503}, (
            f"A good picture was answered with {response.status_code}."
        )


@schemathesis.check
def what_is_deleted_stays_deleted(_context: Any, response: Any, case: Any) -> None:
    """Over all that was sent, where Schemathesis's own check knows of one story only."""
    if (
        case.method.upper() != "GET"
        or response.status_code != HTTPStatus.OK
        or not case.path.startswith("/images")
    ):
        return
    if case.path == "/images":
        with suppress(ValueError, KeyError, TypeError):
            back = _deleted & {image["id"] for image in json.loads(response.content)["data"]}
            assert not back, f"The list holds {sorted(back)}, which were deleted."
    else:
        asked = str(case.path_parameters["id"])
        assert not (asked.isdecimal() and int(asked) in _deleted), f"Image {asked} was deleted."


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
    found = schema_problems(pointer, body)
    assert not found, f"The answer breaks its schema: {'; '.join(found[:3])}"


@schemathesis.check
def answers_in_the_envelope(_context: Any, response: Any, case: Any) -> None:
    if case.method.upper() == "HEAD" or response.status_code == HTTPStatus.NOT_MODIFIED:
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        raise AssertionError("The answer is no JSON.") from None
    assert isinstance(body, dict), "The answer is no JSON object."
    assert isinstance(body.get("message"), str), "`message` is missing, or no text."
    good = response.status_code < HTTPStatus.BAD_REQUEST
    assert body.get("success") is good, f"`success` is {body.get('success')!r} in a {response.status_code}."
    members = {"success", "message"} | ({"data", "meta", "links"} if good else set())
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        members.add("errors")
    assert set(body) <= members, f"The envelope has more members: {', '.join(sorted(set(body) - members))}."


def _is_twice(case: Any) -> bool:
    factor: object = case.body.get("scale_factor", 2)
    return str(factor) == "2"  # and not 2.0


def _is_positive(case: Any) -> bool:
    return bool(case.meta is not None and case.meta.generation.mode.is_positive)


def _right_form(case: Any, field: str) -> Form:
    """With file names, two pictures where several may be sent, and every other time bad ones.

    Only bad ones once as many were accepted as the run may cost of the account's quota. Sizes are left out where
    an upload is the beginning of a story: most do not go with pictures so small.
    """
    value = case.body.get(field)
    content = _bytes(value[0] if isinstance(value, list) and value else value)
    if detect_format(content) is None:
        return []
    with _lock:
        turn = next(_turn)
    stateful = case.meta.phase.name == "stateful"
    name = f"{_FACTS['tag']}{EXTENSIONS[str(detect_format(content))]}"
    if _is_spent() or (turn % 2 and not stateful):
        _bad[case.id], content = corrupt(content, turn // 2)
    texts = {key: text for key, text in case.body.items() if key != field and not stateful}
    return _form(texts, field, [(name, content)] * (2 if field == "images[]" else 1))


def _wrong_form(case: Any, field: str) -> Form:
    """What is wrong with it, and good pictures: otherwise the picture would be the reason to refuse it.

    Itself where the fault is in the picture's own field, and where an empty text may count as not sent.
    """
    value = case.body.get(field)
    values = value if isinstance(value, list) else [value]
    texts = {key: text for key, text in case.body.items() if key != field}
    told = all(isinstance(text, str | int | float) and text != "" for text in texts.values())
    files = all(isinstance(one, str | bytes | Binary) for one in values)
    if case.meta.phase.name not in {"fuzzing", "stateful"} or not (told and files) or _is_spent():
        return []
    return _form(texts, field, [(f"{_FACTS['tag']}.png", _GOOD)] * len(values))


def _form(texts: dict[str, Any], field: str, files: list[tuple[str, bytes]]) -> Form:
    return [*((key, (None, str(text))) for key, text in texts.items()), *((field, file) for file in files)]


def _bytes(value: Any) -> bytes:
    if isinstance(value, Binary):
        value = value.data
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _is_spent() -> bool:
    budget: int = _FACTS["uploads"]
    with _lock:
        return len(_made["/images"]) + 2 * len(_made["/batches"]) >= budget


def _not_of_others(path: str, generated: Any) -> Any:
    """Itself if the kit made it; otherwise one that the kit made, or the like of what nobody has."""
    mine = _made["/images" if path.startswith("/images") else "/batches"]
    if str(generated).isascii() and str(generated).isdecimal() and int(generated) in mine:
        return generated
    if generated == 0:
        return generated
    if isinstance(generated, int) and generated > 0:
        return max(mine) if mine and generated % 2 else _NOBODYS_ID + generated % 1000
    # A server that reads numbers generously would find one in `0042`, `4e1`, `-42`, `42.0` or a full-width `42`.
    return re.sub(r"\d+", str(_NOBODYS_ID), str(generated))
