"""Middleware that runs a small read from token to response without the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from handlers.transport.contract import operation_id
from handlers.transport.threads import ThreadPool, inline

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from handlers.transport.contract import Contract

_THREADS = 4
"""Enough to wait for a database server. Sixteen threads spend a quarter of their time on the interpreter's lock."""
_LOOKUPS_PER_ROUND = 8
"""Per iteration of the event loop. If it ran all waiting lookups, a download would get one chunk per run of them."""


def _run_without_loop(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    """Run the application to its end and return the messages that it sent.

    Raise RuntimeError if it waits for the event loop.
    """
    sent: list[Message] = []

    async def collect(message: Message) -> None:
        """Store the message instead of sending it."""
        sent.append(message)

    with inline():
        try:
            next(app(scope, receive, collect).__await__())
        except StopIteration:
            return sent
    raise RuntimeError("An inline read has waited for the event loop.")


class InlineReads:
    """Run operations that only read and send no file in one step.

    Each switch to a thread and back costs as much as a statement, and under load every switch waits for the
    interpreter's lock. Such an operation waits for no body and no lock, so that the inner middleware can run
    without the event loop. It runs on one thread. With ``lookups_on_loop`` (the database is a file), a lookup
    of one id runs on the event loop itself. There it waits for the counter only, which is not queried for a
    while after it failed to respond.
    """

    def __init__(self, app: ASGIApp, contract: Contract, *, lookups_on_loop: bool) -> None:
        self._app = app
        self._contract = contract
        self._lookups_on_loop = lookups_on_loop
        self._threads = ThreadPool(_THREADS)
        self._left_in_round = _LOOKUPS_PER_ROUND

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a small read in one step, on its thread or on the event loop, then send its messages.

        Pass on all others.
        """
        operation = operation_id(scope)
        if operation is None or not self._contract.is_small_read(operation):
            await self._app(scope, receive, send)
            return
        if self._lookups_on_loop and self._contract.is_lookup(operation):
            await self._wait_for_slot()
            messages = _run_without_loop(self._app, scope, receive)
        else:
            messages = await self._threads.run(_run_without_loop, self._app, scope, receive)
        for message in messages:
            await send(message)

    async def _wait_for_slot(self) -> None:
        """Wait until this round has a free slot; waiting lookups keep their order."""
        while self._left_in_round == 0:  # noqa: ASYNC110  # an Event would wake as many
            await asyncio.sleep(0)
        if self._left_in_round == _LOOKUPS_PER_ROUND:
            asyncio.get_running_loop().call_soon(self._begin_round)
        self._left_in_round -= 1

    def _begin_round(self) -> None:
        """Make all slots free again; the event loop calls this once each round."""
        self._left_in_round = _LOOKUPS_PER_ROUND
