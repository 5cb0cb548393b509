"""Values that several checks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.client import Transport
    from conformance.exchanges import Exchange

T = TypeVar("T")


class Once:
    """A cache of values for one run, with the exchanges that produced each value."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._values: dict[object, tuple[object, list[Exchange]]] = {}
        self.recalled: list[Exchange] = []  # earlier exchanges that the current check relies on

    def __call__(self, key: object, make: Callable[[], T]) -> T:
        """Return the value of ``key``; call ``make`` for it only once in a run.

        Keep nothing if ``make`` raises: the next call repeats it. A stored value adds its exchanges to
        ``recalled``.
        """
        if key in self._values:
            value, exchanges = self._values[key]
            self.recalled += exchanges
        else:
            first = len(self._transport.exchanges)
            value = make()
            self._values[key] = value, self._transport.exchanges[first:]
        return cast("T", value)
