"""The reference pages, served and as the file that tox builds, in a browser without access to other hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from websockets.sync.client import ClientConnection, connect

from handlers.code_samples import DEFAULT_ADDRESS, load_samples
from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.conftest import Customers, Tool

TARGET = "$.paths['/images/upscale'].post"
(UPLOAD,) = (action["update"] for action in load_samples()["actions"] if action["target"] == TARGET)
SAMPLES = {sample["label"]: sample["source"].rstrip("\n") for sample in UPLOAD["x-codeSamples"]}
OPERATION = "#/images/upscale_image"
EMBLEM = "https://cdn.redoc.ly/redoc/logo-mini-full.svg"
"""The only file that Redoc's script requests from another host; the policy of the page blocks it."""

READ_SAMPLES = """
(async (labels) => {
  const until = async (find) => {
    let found;
    while (!(found = find())) await new Promise((resolve) => setTimeout(resolve, 50));
    return found;
  };
  const titled = (selector, title) =>
    [...document.querySelectorAll(selector)].find((element) => element.textContent.trim() === title);
  const samples = {};
  let shown = labels[0];
  for (const label of labels) {
    (await until(() => titled("button", shown))).click();
    (await until(() => titled("[role=menuitem]", label))).click();
    await until(() => titled("button", label));
    samples[label] = document.querySelector("pre").innerText.trimEnd();
    shown = label;
  }
  return samples;
})
"""

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]


class Browser:
    """A page in headless Chromium, controlled through the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent = 0
        self.log_entries: list[str] = []
        self.requested: set[str] = set()

    def __call__(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return message["result"]
            if message["method"] == "Log.entryAdded":
                self.log_entries.append(message["params"]["entry"]["text"])
            if message["method"] == "Network.requestWillBeSent":
                self.requested.add(message["params"]["request"]["url"])

    def open(self, address: str) -> None:
        for domain in ("Log", "Network", "Page", "Runtime"):
            self(f"{domain}.enable")
        self("Page.navigate", url=address)

    def samples(self) -> Any:
        """Return the samples of the operation that the page shows, by their labels."""
        script = f"({READ_SAMPLES})({json.dumps(list(SAMPLES))})"
        done = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"]["value"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    profile = tmp_path / "profile"
    process = subprocess.Popen(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
            *(f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = next(
            found[1]
            for line in process.stderr
            if (found := re.match(r"DevTools listening on ws://([\d.:]+)/", line))
        )
        (page,) = (
            target
            for target in requests.get(f"http://{address}/json", timeout=30).json()
            if target["type"] == "page"
        )
        with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def built(tool: Tool, tmp_path: Path) -> str:
    """Return the address of the page, built with the command of ``tox.ini``."""
    tox = (ROOT / "tox.ini").read_text("utf-8").replace("\\\n", " ")
    (arguments,) = re.findall(r"node docs/reference/node_modules/(.* build-docs .*)", tox)
    document = subprocess.run(
        [sys.executable, "docs/reference/with_samples.py", str(tmp_path / "openapi.json")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert document.returncode == 0
    page = tmp_path / "index.html"
    arguments = arguments.replace("build/reference", str(tmp_path))
    done = tool(*arguments.split())
    assert done.returncode == 0, done.stderr
    return page.as_uri()


def test_served_page_shows_samples_in_every_language(browser: Browser, customers: Customers) -> None:
    browser.open(f"{customers.origin}/docs{OPERATION}")

    assert browser.samples() == {
        label: source.replace(DEFAULT_ADDRESS, customers.origin) for label, source in SAMPLES.items()
    }
    same_host = (f"{customers.origin}/", "data:")
    assert {url for url in browser.requested if not url.startswith(same_host)} == {EMBLEM}
    (blocked,) = browser.log_entries
    assert f"Loading the image '{EMBLEM}' violates" in blocked


def test_built_page_shows_samples_in_every_language(browser: Browser, built: str) -> None:
    browser.open(f"{built}{OPERATION}")

    assert browser.samples() == SAMPLES
