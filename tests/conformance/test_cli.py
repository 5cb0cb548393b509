from __future__ import annotations

import subprocess
import sys


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from conformance.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_call_that_cannot_be_carried_out_is_neither_pass_nor_fail() -> None:
    call = conformance("run", "--base-url", "http://127.0.0.1:9/api")

    assert call.returncode == 3
    assert call.stderr == "uprez-conformance: --token is needed.\n"


def test_a_server_that_is_not_there_is_not_conformant_nor_the_contrary() -> None:
    call = conformance("run", "--base-url", "http://127.0.0.1:9/api", "--token", "1|abc")

    assert call.returncode == 2
    assert "was not answered" in call.stderr
    assert "nothing was checked" in call.stdout


def test_a_requirement_is_explained() -> None:
    call = conformance("explain", "img-001")

    assert call.returncode == 0
    assert "both sides are multiplied by it" in call.stdout
