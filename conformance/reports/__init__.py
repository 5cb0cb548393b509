"""The reports of a run: ``results.json``, and a web page, a JUnit file and a badge made from it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.reports.badge import badge
from conformance.reports.junit import junit
from conformance.reports.page import page
from conformance.reports.results import results, results_schema

if TYPE_CHECKING:
    from conformance.runner import Run


def prepare(folder: Path) -> None:
    """Create the folder, with its parents, and check before the run that it is writable.

    Raise OSError if it is not. No file remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def write(run: Run, folder: Path) -> list[Path]:
    """Write all reports and the schema, each atomically, and return their paths, ``report.html`` first.

    Create the folder and replace earlier reports. Raise OSError; the reports written before it remain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = results(run)
    texts = {
        "report.html": page(document),
        "results.json": _json(document),
        "results.schema.json": _json(results_schema()),
        "junit.xml": junit(document),
        "badge.json": _json(badge(document)),
    }
    for name, text in texts.items():
        _write(folder / name, text)
    return [folder / name for name in texts]


def _json(document: object) -> str:
    """Return the document as indented JSON with a line feed at its end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """Write a file in UTF-8, with the permissions of the umask, and replace it only when it is complete.

    Remove the temporary file after any failure. Raise OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # a temporary file is private, a report is not
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
