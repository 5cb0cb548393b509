from __future__ import annotations

import inspect
import re

import pytest

from domain import errors, job_states, plans
from domain.database import schema, unit_of_work
from domain.errors import FieldProblem, InvalidFields, NotDownloadable, UprezError

ERRORS = [
    thing
    for module in (errors, job_states, plans, schema, unit_of_work)
    for thing in vars(module).values()
    if inspect.isclass(thing) and issubclass(thing, UprezError) and thing.__module__ == module.__name__
]


def drawn_tree() -> list[tuple[int, str]]:
    """Depth and name of each line of the tree in the module's docstring."""
    lines = re.findall(r"^((?:│   |├── |└── |    )*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    start = next(index for index, (_, name) in enumerate(lines) if name == "UprezError")
    return [(len(branches) // 4, name) for branches, name in lines[start:]]


def test_the_tree_drawn_at_the_top_is_the_tree_of_classes() -> None:
    parents: list[str] = []
    drawn = {}
    for depth, name in drawn_tree():
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1] if depth else "Exception"
    classes = [thing for thing in ERRORS if thing.__module__ == errors.__name__]
    assert drawn == {thing.__name__: thing.__bases__[0].__name__ for thing in classes}


# A code is what an operator's alarms are set on: two errors with one code cannot be told apart.
def test_every_error_has_a_code_of_its_own() -> None:
    codes = [thing.code for thing in ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_invalid_fields_keep_every_problem_in_the_order_they_were_found() -> None:
    problems = [
        FieldProblem("image", "required"),
        FieldProblem("scale_factor", "between", {"minimum": 2, "maximum": 4}),
    ]
    refused = InvalidFields(problems)
    problems.clear()
    assert [problem.field for problem in refused.problems] == ["image", "scale_factor"]
    assert str(refused) == "image: required, scale_factor: between"


def test_not_downloadable_says_in_which_state_the_image_is() -> None:
    with pytest.raises(NotDownloadable) as caught:
        raise NotDownloadable("pending")
    assert caught.value.status == "pending"
