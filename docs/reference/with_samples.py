"""Write openapi.yaml with the code samples of samples.yaml, as JSON, for the pages that tox builds.

Usage: python docs/reference/with_samples.py OUTPUT
"""  # noqa: INP001

from __future__ import annotations

import json
import sys
from pathlib import Path

from handlers.code_samples import apply_overlay, load_samples
from handlers.transport.contract import load_contract

if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(apply_overlay(load_contract().document, load_samples())), "utf-8")
