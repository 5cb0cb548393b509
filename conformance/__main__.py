"""``uprez-conformance`` and ``python -m conformance``."""

from __future__ import annotations

import sys

USAGE = 3  # as in conformance.runner.Exit, which may not be importable here


def main() -> None:
    """Run the command line.

    If a package of the kit is not installed, name it on stderr and exit 3. Raise ModuleNotFoundError for a
    module of the kit itself.
    """
    try:
        from conformance import cli  # noqa: PLC0415  # see above
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in {"conformance", ""}:
            raise
        sys.stderr.write(
            f"uprez-conformance: {package} is not installed. Install all packages of the kit with: "
            "pip install 'uprez[conformance]'\n"
        )
        sys.exit(USAGE)
    cli.main()


if __name__ == "__main__":
    main()
