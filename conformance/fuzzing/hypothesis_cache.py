"""The cache of Hypothesis, for example of its character tables."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """Return a folder in the user's cache: by default Hypothesis creates one in the working directory."""
    if "HYPOTHESIS_STORAGE_DIRECTORY" in os.environ:
        return Path(os.environ["HYPOTHESIS_STORAGE_DIRECTORY"])
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(caches) / "uprez-conformance"
