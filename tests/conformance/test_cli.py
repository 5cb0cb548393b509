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
    """The console script in this process: another one takes seconds to load what it needs."""
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


# None of these may be taken for a verdict, whatever a script makes of 0, 1 and 2.
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--base-url is needed."),
        (("--base-url", "http://127.0.0.1:9/api"), "--token is needed."),
        (("--base-url", "localhost:8000/api", "--token", "1|abc"), "such as https://host/api"),
        (("--base-url", "http://me:secret@localhost/api", "--token", "1|abc"), "without a user's name"),
        (("--base-url", "http://localhost/api?x=1", "--token", "1|abc"), "is to end with its path"),
        (("--base-url", "http://[::1/api", "--token", "1|abc"), "such as https://host/api"),
        (("--base-url", "http://host:99999/api", "--token", "1|abc"), "such as https://host/api"),
        (("--base-url", "http://a host/api", "--token", "1|abc"), "such as https://host/api"),
    ],
)
def test_a_call_that_cannot_be_carried_out_is_wrong_usage(arguments: tuple[str, ...], sentence: str) -> None:
    call = conformance("run", *arguments)

    assert call.returncode == 3
    assert sentence in call.stderr
    assert call.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--only", "IMG-999"), "no requirement IMG-999; `uprez-conformance list` has them all"),
        (("--profile", "core,everything"), "no profile everything; there are core, accounts"),
        (("--profile", ","), "there are core, accounts"),
        (("--email", "a@example.com"), "give both or neither"),
        (("--token-b", TOKEN), "of another account"),
        (("--ca-file", "/nowhere/ca.pem"), "there is no file /nowhere/ca.pem"),
        (("--only", "IMG-001", "--read-only"), "not with --read-only"),
        (("--timeout", "soon"), "--timeout"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(arguments: tuple[str, ...], sentence: str) -> None:
    call = run("http://127.0.0.1:9/api", *arguments)

    assert call.returncode == 3
    assert sentence in call.stderr
    assert "Traceback" not in call.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("token = ", "cannot be used"),
        ("colour = 'red'", "unknown settings: colour; there are base-url, token"),
        ("timeout = 'long'", "--timeout is to be a number of seconds"),
        ("work-timeout = 0", "--work-timeout is to be more than 0 seconds"),
        ("seed = true", "--seed is to be a whole number"),
        ("read-only = 1", "--read-only is to be true or false"),
        ("profile = [1]", "--profile is to be a text or a list of them"),
        ("password = 7\nemail = 'a@example.com'", "--password is to be a text"),
    ],
)
def test_a_file_of_options_that_makes_no_sense_is_wrong_usage(
    tmp_path: Path, text: str, sentence: str
) -> None:
    config = tmp_path / "kit.toml"
    config.write_text(text)

    call = run("http://127.0.0.1:9/api", "--config", str(config))

    assert call.returncode == 3
    assert sentence in call.stderr


def test_a_file_of_options_says_what_the_command_line_does_not(tmp_path: Path, server: LeakyServer) -> None:
    config = tmp_path / "kit.toml"
    config.write_text(
        f"base-url = '{server.base_url}'\ntoken = '{TOKEN}'\nprofile = 'core'\nonly = ['img-001']\n"
    )

    call = conformance("run", "--config", str(config), "--seed", "5")

    assert call.returncode == 1
    assert call.stdout.startswith("NOT conformant in what was chosen: 1 fail;")
    assert "seed 5" in call.stdout


def test_a_report_that_cannot_be_written_is_told_before_the_run(tmp_path: Path, server: LeakyServer) -> None:
    (tmp_path / "file").write_text("")

    call = run(server.base_url, "--report", str(tmp_path / "file"))

    assert call.returncode == 3
    assert "--report: nothing can be written there" in call.stderr
    assert server.received_requests == []


def inconclusive(call: Call, sentence: str) -> None:
    assert call.returncode == 2, call.stderr
    assert sentence in call.stderr
    assert "inconclusive: nothing was checked" in call.stdout


def test_a_server_that_is_not_there_is_not_conformant_nor_the_contrary() -> None:
    inconclusive(run("http://127.0.0.1:9/api"), "Is the server running, and reachable under --base-url?")


def test_a_name_that_is_no_hosts_is_told() -> None:
    inconclusive(run("http://nowhere.invalid/api"), "Is the server running, and reachable under --base-url?")


def test_a_server_that_does_not_answer_in_time_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        call = run(f"http://127.0.0.1:{silent.getsockname()[1]}/api", "--timeout", "1")

    inconclusive(call, "was not answered within 1 s. Give the server longer with --timeout.")


def test_a_wrong_token_is_told(server: LeakyServer) -> None:
    server.user = (401, "application/json", b'{"success": false, "message": "No."}')

    inconclusive(run(server.base_url), "The server refuses the token (401 for GET /user). Is --token a valid")


def test_a_server_that_answers_401_to_everything_is_told(server: LeakyServer) -> None:
    server.user = server.everything = (401, "application/json", b'{"success": false, "message": "No."}')

    inconclusive(run(server.base_url), "answers 401 to a route that does not exist as well")


def test_an_account_that_may_not_use_the_api_is_told(server: LeakyServer) -> None:
    server.user = (200, "application/json", b'{"success": true, "message": "You."}')
    server.everything = (403, "application/json", b'{"success": false, "message": "No."}')

    inconclusive(run(server.base_url), "The account may not use the API (403 for GET /images).")


def test_a_page_at_the_base_url_is_told(server: LeakyServer) -> None:
    server.user = (200, "text/html; charset=utf-8", b"<h1>Welcome</h1>")

    inconclusive(run(server.base_url), "a page of HTML: no API is there. Does --base-url end where")


def test_a_base_url_that_is_short_of_the_api_is_told(server: LeakyServer) -> None:
    server.user = (404, "application/json", b"{}")

    inconclusive(run(server.base_url), "There is no GET /user (404). Does --base-url end where")


def test_a_certificate_that_nobody_trusts_is_told(tmp_path: Path) -> None:
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

    inconclusive(distrusted, "certificate is not trusted. Name the file of the authority")
    inconclusive(trusted, "There is no GET /user (404).")


def test_https_to_a_server_of_http_is_told(server: LeakyServer) -> None:
    call = run(server.base_url.replace("http:", "https:"))

    inconclusive(call, "no TLS came about. Does the server speak http:// there?")


def test_what_is_broken_is_told_in_a_line_each_and_in_the_exit_code(
    server: LeakyServer, tmp_path: Path
) -> None:
    call = run(server.base_url, "--only", "IMG-001", "--report", str(tmp_path / "report"))

    assert call.returncode == 1
    assert call.stderr.startswith(
        "FAIL         IMG-001   A factor multiplies both sides of the picture: The size"
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
def test_interrupted_it_tidies_up_and_still_reports(server: LeakyServer, tmp_path: Path, when: str) -> None:
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
    assert "deleting what was made on the server" in stderr
    assert "inconclusive: nothing was checked" in stdout
    assert "DELETE /api/images/7" in server.received_requests
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["verdict"] == "inconclusive"
    assert results["run"]["stopped"].startswith("Interrupted")
    assert results["run"]["left_behind"] == []
    assert results["counts"]["not reached"] == 1
    assert conformance("verify", str(tmp_path / "results.json")).returncode == 0


def test_a_fault_of_the_kit_is_no_verdict(server: LeakyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr("conformance.kit.Kit.close", fail)

    call = run(server.base_url, "--only", "IMG-001")

    assert call.returncode == 2
    assert "A fault of the kit's own, and not the server's: RuntimeError in fail." in call.stderr
    assert TOKEN not in call.stdout + call.stderr


def test_a_report_is_verified(server: LeakyServer, tmp_path: Path) -> None:
    run(server.base_url, "--only", "IMG-001", "--report", str(tmp_path))
    path = tmp_path / "results.json"

    sound = conformance("verify", str(path))
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"'))
    altered = conformance("verify", str(path))
    path.write_text("{")
    unreadable = conformance("verify", str(path))

    assert (sound.returncode, altered.returncode, unreadable.returncode) == (0, 1, 3)
    assert f"is sound: {server.base_url} was not conformant in what was chosen" in sound.stdout
    assert "It was changed after it was written" in altered.stderr
    assert "cannot be read as a report" in unreadable.stderr
    assert conformance("verify", str(tmp_path / "nothing.json")).returncode == 3


def test_a_requirement_is_explained() -> None:
    call = conformance("explain", "img-001")

    assert call.returncode == 0
    assert "both sides are multiplied by it" in call.stdout
    assert "scale-factor-always-two" in call.stdout


def test_an_unknown_requirement_cannot_be_explained() -> None:
    call = conformance("explain", "IMG-999")

    assert call.returncode == 3
    assert "`uprez-conformance list` has them all" in call.stderr


@pytest.mark.parametrize("options", [(), ("--markdown",)])
def test_every_requirement_is_listed_with_all_that_belongs_to_it(options: tuple[str, ...]) -> None:
    call = conformance("list", *options)

    assert call.returncode == 0
    for one in requirements():
        for told in (one.id, one.level, one.profile, one.pointer, *one.mutants):
            assert told in call.stdout
    if options:
        assert len(call.stdout.splitlines()) == 2 + len(requirements())


def test_nothing_said_is_answered_with_help_and_is_no_verdict() -> None:
    assert conformance().returncode in {0, 3}
