"""Messages and reasons of invalid fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import http_sf

from domain.errors import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
"""Key of a dictionary in a structured header, https://www.rfc-editor.org/rfc/rfc9651#section-3.2."""
_OTHER_NAMES = "*"
"""Key of the fields whose name, which a client has chosen, cannot be a key."""
_MAX_FIELDS = 50
"""Fields in one header; 64 KiB of JSON can have thousands of wrong ones."""
_MESSAGES = {
    # constraints of the contract's schemas
    "required": "The {label} field is required.",
    "unknown": "The {label} field is not known.",
    "unknown_index": "The {label} field is not known. Send each value as {name}.",
    "repeated": "The {label} field must be sent only once.",
    "text": "The {label} must be text, not a file.",
    "integer": "The {label} must be an integer.",
    "number": "The {label} must be a number.",
    "string": "The {label} must be a string.",
    "boolean": "The {label} must be true or false.",
    "array": "The {label} must be a list.",
    "object": "The {label} must be an object.",
    "between": "The {label} must be between {minimum} and {maximum}.",
    "minimum": "The {label} must be at least {minimum}.",
    "maximum": "The {label} must not be greater than {maximum}.",
    "min_characters": "The {label} must be at least {minimum} characters.",
    "max_characters": "The {label} must not be greater than {maximum} characters.",
    "one_of": "The {label} must be one of: {allowed}.",
    "each_of": "The {label} must each be one of: {allowed}.",
    "max_items": "The {label} field must not have more than {maximum} items.",
    "filled": "The {label} must not be empty.",
    "characters": "The {label} must not contain line breaks or other control characters.",
    "format": "The {label} has an invalid format.",
    # accounts
    "email": "The {label} must be a valid email address.",
    "taken": "The {label} has already been taken.",
    "confirmed": "The {label} confirmation does not match.",
    "mixed_case": "The {label} must contain at least one uppercase and one lowercase letter.",
    "digit": "The {label} must contain at least one number.",
    "invalid_or_expired": "The {label} is invalid or has expired.",
    "held_by_token": "The {label} must be among those of the token that asks: {held}.",
    # images and sizes
    "image_file": "The {label} must be a file of type: jpeg, png, webp, bmp, tiff, gif.",
    "max_kilobytes": "The {label} must not be greater than {maximum} kilobytes.",
    "max_pixels": "The {label} must not have more than {maximum} pixels.",
    "max_frames": "The {label} must not have more than {maximum} frames.",
    "max_pages": "The {label} must not have more than {maximum} pages.",
    "excluded_by_target": "The {label} cannot be used with target_width or target_height.",
    "larger_than_original": "The {label} must be larger than the original ({side} pixels).",
    "within_plan_scale": "The {label} must not be greater than {maximum}, the most that your plan allows here.",
    "unfit": "The {label} does not fit: {because}",
    "result_side": "The {label} would make a side of the result longer than {maximum} pixels.",
    "result_pixels": "The {label} would make the result larger than {maximum} pixels.",
    "offered": "The {label} must be one of those that are offered here: {offered}.",
}


def field_errors(problems: Iterable[FieldProblem]) -> dict[str, list[str]]:
    """Return the messages of each field, without repetitions, in the order of the problems."""
    messages: dict[str, list[str]] = {}
    for problem in problems:
        of_field = messages.setdefault(problem.field, [])
        message = _message(problem)
        if message not in of_field:
            of_field.append(message)
    return messages


def field_reasons(problems: Iterable[FieldProblem]) -> str:
    """Return the words of each field as a dictionary of RFC 9651, such as ``name=required, password=(digit)``.

    The fields are in the order of the problems, at most ``_MAX_FIELDS`` of them, without repetitions. A word is the
    rule that the field violates.
    """
    reasons: dict[str, list[http_sf.Token]] = {}
    for problem in problems:
        name = problem.field if _KEY.fullmatch(problem.field) else _OTHER_NAMES
        if name not in reasons and len(reasons) == _MAX_FIELDS:
            continue
        of_field = reasons.setdefault(name, [])
        word = http_sf.Token(_word(problem))
        if word not in of_field:
            of_field.append(word)
    dictionary: dict[str, Any] = {
        name: words[0] if len(words) == 1 else words for name, words in reasons.items()
    }
    return http_sf.ser(dictionary)


def field_words() -> set[str]:
    """Return all words that ``field_reasons`` can contain."""
    return _MESSAGES.keys() - {"unfit"}


def _word(problem: FieldProblem) -> str:
    """Return the violated rule; for an image that a size does not fit, that of the size."""
    cause = problem.facts.get("because")
    return cause.rule if isinstance(cause, FieldProblem) else problem.rule


def _message(problem: FieldProblem) -> str:
    """Return the error's text, with the field's name, where underscores become spaces, and its facts."""
    facts = {
        name: _message(fact) if isinstance(fact, FieldProblem) else fact
        for name, fact in problem.facts.items()
    }
    return _MESSAGES[problem.rule].format(label=problem.field.replace("_", " "), **facts)
