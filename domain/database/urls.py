"""Database URLs in the form that SQLAlchemy reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import URL

if TYPE_CHECKING:
    from pathlib import Path


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()
