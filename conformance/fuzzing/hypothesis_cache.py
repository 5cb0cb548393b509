"""The cache of Hypothesis, for example of its character tables."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """Return a folder in the user's cache; it is not created here.

    HYPOTHESIS_STORAGE_DIRECTORY overrides it. By default Hypothesis uses a folder in the working directory.
    """
    if "HYPOTHESIS_STORAGE_DIRECTORY" in os.environ:
        return Path(os.environ["HYPOTHESIS_STORAGE_DIRECTORY"])
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(caches) / "uprez-conformance"
