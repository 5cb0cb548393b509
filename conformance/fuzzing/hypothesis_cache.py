"""Where Hypothesis keeps what it has once worked out, such as which characters there are."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """Of the user's caches: by default Hypothesis makes a folder wherever it is called from."""
    if "HYPOTHESIS_STORAGE_DIRECTORY" in os.environ:
        return Path(os.environ["HYPOTHESIS_STORAGE_DIRECTORY"])
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(caches) / "uprez-conformance"
