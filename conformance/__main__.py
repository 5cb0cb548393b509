"""``uprez-conformance`` and ``python -m conformance``"""

from __future__ import annotations

import sys

USAGE = 3  # as in conformance.runner.Exit, which may be what cannot be imported


def main() -> None:
    """The console script, also where its extra was left out."""
    try:
        from conformance import cli  # noqa: PLC0415  # see above
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in {"conformance", ""}:
            raise
        sys.stderr.write(
            f"uprez-conformance: {package} is not installed. Whatever the kit needs comes with: "
            "pip install 'uprez[conformance]'\n"
        )
        sys.exit(USAGE)
    cli.main()


if __name__ == "__main__":
    main()
