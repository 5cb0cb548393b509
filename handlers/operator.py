"""Health checks for operators, outside the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.request import services
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    import flask


def add_health(app: flask.Flask) -> None:
    """Add the routes of the health checks."""
    for path, view in (("/health/live", live), ("/health/ready", ready)):
        app.add_url_rule(path, view_func=view, provide_automatic_options=False)


def live() -> Body:
    """Respond with 200 while the process runs; nothing else is checked."""
    return success("Alive")


def ready() -> Body:
    """Respond with 200 if the database responds. Raise Unavailable if it does not.

    A broker that is down is no outage: uploads are accepted and stay queued.
    """
    with services().database.reading() as work:
        work.ping()
    return success("Ready")
