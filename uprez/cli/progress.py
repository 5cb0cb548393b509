"""The progress bar of commands; it is hidden if stderr is not a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Provide a callback ``(done, total)`` that draws a progress bar on stderr, which is removed at the end.

    The callback draws nothing if stderr is not a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("upscaling", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
