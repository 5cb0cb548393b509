"""A server that breaks most of the contract and repeats secrets of the request in every response."""

from __future__ import annotations

import base64
import html
import io
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

MINTED_TOKEN = "99|MintedByTheServer0123456789abcdef"
PATH_SIGNATURE = "eyJrIjoiN2g0a2QifQ.Qm9yZGVhdXhBbmRDbGFyZXQ"
QUERY_SIGNATURE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
COOKIE = "5e55ion0fTheServersOwn"


@dataclass
class LeakyServer:
    """The state of the server: tests set the responses before they start the kit.

    ``received_requests`` has the method and path of every request.
    """

    base_url: str = ""
    image_status: str = "completed"
    user: tuple[int, str, bytes] | None = None  # status, media type, body of GET /user
    everything: tuple[int, str, bytes] | None = None  # … of all other requests
    hold_uploads: bool = False  # never respond to an upload
    upload_arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    received_requests: list[str] = field(default_factory=list)
    image_name: str = ""

    def special_response(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes] | None:
        """Return status, media type and body that the test or the path requires; None means the default response."""
        if path == "/api/user" and self.user:
            return self.user
        if self.everything:
            return self.everything
        if method == "POST" and path.endswith("/upscale"):
            self.image_name = body.partition(b'filename="')[2].partition(b'"')[0].decode()
            self.upload_arrived.set()
            if self.hold_uploads:
                self.release.wait(30)
                return None
        if path.startswith("/api/files/"):
            return 200, "image/png", _png()
        return None


def _png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def spellings(text: str) -> set[str]:
    """Return the forms of a text in JSON, URLs, HTML, Python and base64."""
    url_quoted = {quote(text, safe=safe) for safe in ("", "/", ":/|+=~@!$&'()*,;")} | {quote_plus(text)}
    in_base64 = {
        base64.b64encode(f"{before}{text}".encode()).decode() for before in ("", "jane@example.com:")
    }
    return {
        text,
        json.dumps(text)[1:-1],
        json.dumps(text)[1:-1].replace("/", "\\/"),
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        html.escape(text),
        *url_quoted,
        *(form.lower() if "%" in form and form.lower() == text.lower() else form for form in url_quoted),
        *in_base64,
    }


@contextmanager
def leaky_server() -> Iterator[LeakyServer]:
    """Run the server and provide its state."""
    state = LeakyServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            state.received_requests.append(f"{self.command} {path}")
            special = state.special_response(self.command, path, body)
            if special is None and state.hold_uploads and path.endswith("/upscale"):
                self.close_connection = True
                return
            status, media_type, content = special or self.leak(path, body)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Set-Cookie", f"session={COOKIE}; Path=/")
            self.send_header("X-Received", quote(self.headers.get("Authorization") or "nothing"))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def leak(self, path: str, body: bytes) -> tuple[int, str, bytes]:
            status = 202 if self.command == "POST" and path.endswith(("upscale", "batches")) else 200
            credentials = (self.headers.get("Authorization") or "").partition(" ")[2]
            link = f"{state.base_url}/files/{PATH_SIGNATURE}/kit.png?expires=1999999999&signature={QUERY_SIGNATURE}"
            item: dict[str, Any] = {
                "id": 7,
                "status": state.image_status,
                "original_filename": state.image_name,
                "received": sorted(spellings(credentials)),
                "cookie": COOKIE,
                "body": body.decode("utf-8", "replace")[-3000:],
                "token": MINTED_TOKEN,
                "download_url": link,
                "upscaled_dimensions": html.escape(credentials),
            }
            data = [item] if path in {"/api/images", "/api/batches"} else item
            envelope = {"success": True, "message": f"You are {credentials}", "data": data}
            return status, "application/json", json.dumps(envelope).encode()

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.handle_request)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.base_url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
