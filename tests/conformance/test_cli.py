from __future__ import annotations

import io
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme
from leaky_server import LeakyServer, leaky_server

from conformance.catalogue import requirements
from conformance.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from conformance.cli import main; main()"]
TOKEN = "17|aTokenThatIsLongEnough"


@dataclass(frozen=True)
class Call:
    returncode: int
    stdout: str
    stderr: str


def conformance(*arguments: str) -> Call:
    """Run the console script in this process, because a new process needs seconds for its imports."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before, sys.argv = sys.argv, ["uprez-conformance", *arguments]
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(code, int)
    return Call(int(code), out.getvalue(), err.getvalue())


def run(base_url: str, *arguments: str) -> Call:
    return conformance("run", "--base-url", base_url, "--token", TOKEN, *arguments)


@pytest.fixture
def server() -> Iterator[LeakyServer]:
    with leaky_server() as started:
        yield started


# The exit codes 0, 1 and 2 are verdicts: a usage error must have another one.
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--base-url is required."),
        (("--base-url", "http://127.0.0.1:9/api"), "--token is required."),
        (("--base-url", "localhost:8000/api", "--token", "1|abc"), "such as https://host/api"),
        (
            ("--base-url", "http://me:secret@localhost/api", "--token", "1|abc"),
            "must not contain a user name",
        ),
        (("--base-url", "http://localhost/api?x=1", "--token", "1|abc"), "must end with its path"),
        (("--base-url", "http://[::1/api", "--token", "1|abc"), "such as https://host/api"),
        (("--base-url", "http://host:99999/api", "--token", "1|abc"), "such as https://host/api"),
        (("--base-url", "http://a host/api", "--token", "1|abc"), "such as https://host/api"),
    ],
)
def test_wrong_address_or_missing_token_is_usage_error(arguments: tuple[str, ...], message: str) -> None:
    call = conformance("run", *arguments)

    assert call.returncode == 3
    assert message in call.stderr
    assert call.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "IMG-999"), "Unknown requirement: IMG-999. `uprez-conformance list` shows all"),
        (("--profile", "core,everything"), "Unknown profile: everything. Known profiles: core, accounts"),
        (("--profile", ","), "Known profiles: core, accounts"),
        (("--email", "a@example.com"), "set both or neither"),
        (("--token-b", TOKEN), "of another account"),
        (("--ca-file", "/nowhere/ca.pem"), "the file /nowhere/ca.pem does not exist"),
        (("--only", "IMG-001", "--read-only"), "Leave out --read-only"),
        (("--timeout", "soon"), "--timeout"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_invalid_option_is_usage_error(arguments: tuple[str, ...], message: str) -> None:
    call = run("http://127.0.0.1:9/api", *arguments)

    assert call.returncode == 3
    assert message in call.stderr
    assert "Traceback" not in call.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("token = ", "cannot be read"),
        ("colour = 'red'", "unknown settings: colour. Known settings: base-url, token"),
        ("timeout = 'long'", "--timeout must be a number of seconds"),
        ("work-timeout = 0", "--work-timeout must be more than 0 seconds"),
        ("seed = true", "--seed must be a whole number"),
        ("read-only = 1", "--read-only must be true or false"),
        ("profile = [1]", "--profile must be a string or a list of strings"),
        ("password = 7\nemail = 'a@example.com'", "--password must be a string"),
    ],
)
def test_invalid_config_file_is_usage_error(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "kit.toml"
    config.write_text(text)

    call = run("http://127.0.0.1:9/api", "--config", str(config))

    assert call.returncode == 3
    assert message in call.stderr


def test_config_file_completes_the_command_line(tmp_path: Path, server: LeakyServer) -> None:
    config = tmp_path / "kit.toml"
    config.write_text(
        f"base-url = '{server.base_url}'\ntoken = '{TOKEN}'\nprofile = 'core'\nonly = ['img-001']\n"
    )

    call = conformance("run", "--config", str(config), "--seed", "5")

    assert call.returncode == 1
    assert call.stdout.startswith("NOT conformant in the selected requirements: 1 fail;")
    assert "seed 5" in call.stdout


def test_unwritable_report_is_reported_before_the_run(tmp_path: Path, server: LeakyServer) -> None:
    (tmp_path / "file").write_text("")

    call = run(server.base_url, "--report", str(tmp_path / "file"))

    assert call.returncode == 3
    assert "--report: the folder is not writable" in call.stderr
    assert server.received_requests == []


def expect_inconclusive(call: Call, message: str) -> None:
    assert call.returncode == 2, call.stderr
    assert message in call.stderr
    assert "inconclusive: nothing was checked" in call.stdout


def test_unreachable_server_is_inconclusive() -> None:
    expect_inconclusive(run("http://127.0.0.1:9/api"), "Is the server running and reachable at --base-url?")


def test_unknown_host_is_inconclusive() -> None:
    expect_inconclusive(
        run("http://nowhere.invalid/api"), "Is the server running and reachable at --base-url?"
    )


def test_response_timeout_is_inconclusive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        call = run(f"http://127.0.0.1:{silent.getsockname()[1]}/api", "--timeout", "1")

    expect_inconclusive(call, "got no response within 1 s. Raise --timeout.")


def test_wrong_token_is_inconclusive(server: LeakyServer) -> None:
    server.user = (401, "application/json", b'{"success": false, "message": "No."}')

    expect_inconclusive(
        run(server.base_url), "The server rejects the token (401 for GET /user). Is --token a valid"
    )


def test_401_for_unknown_route_is_reported(server: LeakyServer) -> None:
    server.user = server.everything = (401, "application/json", b'{"success": false, "message": "No."}')

    expect_inconclusive(run(server.base_url), "also returns 401 for an unknown route")


def test_account_without_api_access_is_inconclusive(server: LeakyServer) -> None:
    server.user = (200, "application/json", b'{"success": true, "message": "You."}')
    server.everything = (403, "application/json", b'{"success": false, "message": "No."}')

    expect_inconclusive(run(server.base_url), "The account has no access to the API (403 for GET /images).")


def test_html_page_at_base_url_is_inconclusive(server: LeakyServer) -> None:
    server.user = (200, "text/html; charset=utf-8", b"<h1>Welcome</h1>")

    expect_inconclusive(
        run(server.base_url), "an HTML page: no API is at this address. Does --base-url end where"
    )


def test_404_at_base_url_is_inconclusive(server: LeakyServer) -> None:
    server.user = (404, "application/json", b"{}")

    expect_inconclusive(run(server.base_url), "GET /user returned 404. Does --base-url end where")


def test_untrusted_certificate_is_inconclusive(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(
                        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
            except OSError:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        distrusted = run(f"https://localhost:{port}/api")
        trusted = run(f"https://localhost:{port}/api", "--ca-file", str(tmp_path / "ca.pem"))
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()

    expect_inconclusive(distrusted, "certificate is not trusted. Set --ca-file to the certificate")
    expect_inconclusive(trusted, "GET /user returned 404.")


def test_https_to_http_server_is_inconclusive(server: LeakyServer) -> None:
    call = run(server.base_url.replace("http:", "https:"))

    expect_inconclusive(call, "the TLS handshake failed. Does the server use http:// at this address?")


def test_failed_requirement_is_one_line_and_exit_code_1(server: LeakyServer, tmp_path: Path) -> None:
    call = run(server.base_url, "--only", "IMG-001", "--report", str(tmp_path / "report"))

    assert call.returncode == 1
    assert call.stderr.startswith(
        "FAIL         IMG-001   A scale factor multiplies both sides of the image: The size"
    )
    assert call.stdout.endswith(f"Report: {tmp_path / 'report' / 'report.html'}\n")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "badge.json",
        "junit.xml",
        "report.html",
        "results.json",
        "results.schema.json",
    ]


@pytest.mark.parametrize("when", ["waiting", "uploading"])
def test_interrupted_run_cleans_up_and_writes_report(server: LeakyServer, tmp_path: Path, when: str) -> None:
    server.image_status = "processing"
    server.hold_uploads = when == "uploading"
    kit = subprocess.Popen(
        [*COMMAND, "run", "--base-url", server.base_url, "--token", TOKEN, "--only", "IMG-001",
         "--report", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.upload_arrived.wait(60)

    kit.send_signal(signal.SIGINT)
    stdout, stderr = kit.communicate(timeout=60)

    assert kit.returncode == 2
    assert "deleting the images and batches of this run" in stderr
    assert "inconclusive: nothing was checked" in stdout
    assert "DELETE /api/images/7" in server.received_requests
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["verdict"] == "inconclusive"
    assert results["run"]["stopped"].startswith("Interrupted")
    assert results["run"]["left_behind"] == []
    assert results["counts"]["not reached"] == 1
    assert conformance("verify", str(tmp_path / "results.json")).returncode == 0


def test_internal_error_is_inconclusive(server: LeakyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr("conformance.kit.Kit.close", fail)

    call = run(server.base_url, "--only", "IMG-001")

    assert call.returncode == 2
    assert "Internal error of the kit, not of the server: RuntimeError in fail." in call.stderr
    assert TOKEN not in call.stdout + call.stderr


def test_verify_detects_altered_report(server: LeakyServer, tmp_path: Path) -> None:
    run(server.base_url, "--only", "IMG-001", "--report", str(tmp_path))
    path = tmp_path / "results.json"

    sound = conformance("verify", str(path))
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"'))
    altered = conformance("verify", str(path))
    path.write_text("{")
    unreadable = conformance("verify", str(path))

    assert (sound.returncode, altered.returncode, unreadable.returncode) == (0, 1, 3)
    assert f"is valid: {server.base_url} was not conformant in the selected requirements" in sound.stdout
    assert "It was changed after it was written" in altered.stderr
    assert "is not a readable report" in unreadable.stderr
    assert conformance("verify", str(tmp_path / "nothing.json")).returncode == 3


def test_explain_prints_requirement() -> None:
    call = conformance("explain", "img-001")

    assert call.returncode == 0
    assert "both sides are multiplied by it" in call.stdout
    assert "scale-factor-always-two" in call.stdout


def test_explain_unknown_requirement_is_usage_error() -> None:
    call = conformance("explain", "IMG-999")

    assert call.returncode == 3
    assert "`uprez-conformance list` shows all" in call.stderr


@pytest.mark.parametrize("options", [(), ("--markdown",)])
def test_list_prints_every_requirement(options: tuple[str, ...]) -> None:
    call = conformance("list", *options)

    assert call.returncode == 0
    for one in requirements():
        for text in (one.id, one.level, one.profile, one.pointer, *one.mutants):
            assert text in call.stdout
    if options:
        assert len(call.stdout.splitlines()) == 2 + len(requirements())


def test_no_arguments_print_help_without_verdict() -> None:
    assert conformance().returncode in {0, 3}
