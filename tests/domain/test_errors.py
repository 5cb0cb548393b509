from __future__ import annotations

import inspect
import re

import pytest

from domain import errors, job_states, plans
from domain.database import schema, unit_of_work
from domain.errors import FieldProblem, InvalidFields, NotDownloadable, UprezError

ERRORS = [
    each
    for module in (errors, job_states, plans, schema, unit_of_work)
    for each in vars(module).values()
    if inspect.isclass(each) and issubclass(each, UprezError) and each.__module__ == module.__name__
]


def drawn_tree() -> list[tuple[int, str]]:
    """Return the depth and the name of each line of the tree in the module's docstring."""
    lines = re.findall(r"^((?:│   |├── |└── |    )*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    start = next(index for index, (_, name) in enumerate(lines) if name == "UprezError")
    return [(len(branches) // 4, name) for branches, name in lines[start:]]


def test_documented_tree_matches_the_classes() -> None:
    parents: list[str] = []
    drawn = {}
    for depth, name in drawn_tree():
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else "Exception"
    classes = [each for each in ERRORS if each.__module__ == errors.__name__]
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in classes}


# Operators' alerts use the codes: two errors with one code could not be distinguished.
def test_every_error_has_a_unique_code() -> None:
    codes = [each.code for each in ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_invalid_fields_keep_their_problems_in_order() -> None:
    problems = [
        FieldProblem("image", "required"),
        FieldProblem("scale_factor", "between", {"minimum": 2, "maximum": 4}),
    ]
    error = InvalidFields(problems)
    problems.clear()
    assert [problem.field for problem in error.problems] == ["image", "scale_factor"]
    assert str(error) == "image: required, scale_factor: between"


def test_not_downloadable_has_the_images_status() -> None:
    with pytest.raises(NotDownloadable) as caught:
        raise NotDownloadable("pending")
    assert caught.value.status == "pending"
