"""Wording: plain technical English in code, settings, documentation, templates and requirements."""

from __future__ import annotations

import ast
import re
import tokenize
import tomllib
from typing import TYPE_CHECKING

import pytest

from project_root import ROOT
from uprez.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("domain", "handlers", "workers", "conformance", "uprez", "benchmarks")
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "openapi.yaml",
    "docs/reference/samples.yaml",
    "pyproject.toml",
    "tox.ini",
)
PRIVATE_WORDS = re.compile(
    r"\b(nobody|somebody|whoever|anybody|is told|who asks|is asked|answers with|(is|are) answered|answered with"
    r"|(?<![<`/])pictures?|strangers?|besides|anew)\b",
    re.IGNORECASE,
)
NO_IMPERATIVE = re.compile(
    r"(what|whether|as|of|who|where|when|how|which|that|those|with|for|in|on|from|by|to|raises)\b",
    re.IGNORECASE,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TEXT_TOKENS = {
    kind
    for kind in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None))
    if kind is not None
}
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)


def docstrings(kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[str, str]]:
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, DOCUMENTED) and isinstance(node, kinds) and (text := ast.get_docstring(node)):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}", text


def requirement_texts() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "conformance" / "requirements").glob("*.toml")):
        yield path.name, str(tomllib.loads(path.read_text("utf-8")))


def page_texts() -> Iterator[tuple[str, str]]:
    own = (path for path in sorted((ROOT / "docs").rglob("*.md")) if "node_modules" not in path.parts)
    for path in (*(ROOT / name for name in PAGES), *own):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def comments_and_messages() -> Iterator[tuple[str, str]]:
    """Yield the comments and the texts in quotation marks; a module's names are its own."""
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                number = token.start[0]
                if token.type in TEXT_TOKENS:
                    yield f"{path.relative_to(ROOT)}:{number}", token.string


def template_texts() -> Iterator[tuple[str, str]]:
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.j2"))):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")


TEXTS = {
    "comments and messages": comments_and_messages,
    "templates": template_texts,
    "docstrings": lambda: docstrings(DOCUMENTED),
    "settings": lambda: ((name, field.description or "") for name, field in Settings.model_fields.items()),
    "pages": page_texts,
    "requirements": requirement_texts,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_no_private_words(kind: str) -> None:
    assert [
        (where, match[0]) for where, text in TEXTS[kind]() for match in PRIVATE_WORDS.finditer(text)
    ] == []


def test_function_docstrings_start_with_a_verb() -> None:
    found = list(docstrings(FUNCTIONS))
    odd = [where for where, text in found if NO_IMPERATIVE.match(text)]

    assert len(odd) / len(found) < 0.03, odd
