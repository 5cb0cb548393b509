"""``badge.json``: the endpoint badge of shields.io, https://shields.io/badges/endpoint-badge."""

from __future__ import annotations

from typing import Any

_COLORS = {"conformant": "brightgreen", "not conformant": "red", "inconclusive": "yellow"}


def badge(document: dict[str, Any]) -> dict[str, Any]:
    """Return the badge for a results document; it shows a partial run as such.

    For a server that is not conformant it shows the number of failed MUSTs, also in a partial run.
    """
    verdict = document["verdict"]
    if verdict == "not conformant":
        failed = sum(row["verdict"] == "fail" and row["level"] == "MUST" for row in document["results"])
        message = f"{failed} failed"
    elif document["partial"]:
        message = f"{verdict} in part"
    else:
        message = f"{verdict} ({', '.join(document['profiles']['selected'])})"
    color = "yellowgreen" if verdict == "conformant" and document["partial"] else _COLORS[verdict]
    return {
        "schemaVersion": 1,
        "label": f"Uprez contract {document['contract']['version']}",
        "message": message,
        "color": color,
        "isError": verdict == "not conformant",
    }
