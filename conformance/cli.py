"""``uprez-conformance``"""

from __future__ import annotations

import sys

_USAGE = 3
"""The exit status for a call that cannot be carried out; 0 and 1 are verdicts, which this is not."""


def run() -> None:
    print(  # noqa: T201  # a console script speaks to its console
        "uprez-conformance: not built yet. It will check any server against openapi.yaml; nothing was checked.",
        file=sys.stderr,
    )
    sys.exit(_USAGE)
