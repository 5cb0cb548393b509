"""Pages for operators, outside the contract: is the process alive, and can it serve?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.request import services
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    import flask


def add_health(app: flask.Flask) -> None:
    for path, view in (("/health/live", live), ("/health/ready", ready)):
        app.add_url_rule(path, view_func=view, provide_automatic_options=False)


def live() -> Body:
    return success("Alive")


def ready() -> Body:
    """503 without a database. A broker that is down is no outage: uploads are taken and wait."""
    with services().database.reading() as work:
        work.ping()
    return success("Ready")
