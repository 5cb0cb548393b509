"""A server that keeps next to nothing of the contract, and says in every answer all that it was told in confidence."""

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
class TalkativeServer:
    """What it answers is set before the kit is started; ``asked`` has method and path of what it was asked."""

    base_url: str = ""
    image_status: str = "completed"
    user: tuple[int, str, bytes] | None = None  # status, media type, body of GET /user
    everything: tuple[int, str, bytes] | None = None  # … of all else
    hold_uploads: bool = False  # never answer one
    upload_arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    image_name: str = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes] | None:
        """None: none at all."""
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
    """The ways in which a text is written in JSON, URLs, HTML, Python and base64."""
    quoted = {quote(text, safe=safe) for safe in ("", "/", ":/|+=~@!$&'()*,;")} | {quote_plus(text)}
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
        *quoted,
        *(one.lower() if "%" in one and one.lower() == text.lower() else one for one in quoted),
        *in_base64,
    }


@contextmanager
def leaky_server() -> Iterator[TalkativeServer]:
    told = TalkativeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            told.asked.append(f"{self.command} {path}")
            special = told.answer(self.command, path, body)
            if special is None and told.hold_uploads and path.endswith("/upscale"):
                self.close_connection = True
                return
            status, media_type, content = special or self.gossip(path, body)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Set-Cookie", f"session={COOKIE}; Path=/")
            self.send_header("X-Heard", quote(self.headers.get("Authorization") or "nothing"))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def gossip(self, path: str, body: bytes) -> tuple[int, str, bytes]:
            status = 202 if self.command == "POST" and path.endswith(("upscale", "batches")) else 200
            credentials = (self.headers.get("Authorization") or "").partition(" ")[2]
            link = f"{told.base_url}/files/{PATH_SIGNATURE}/kit.png?expires=1999999999&signature={QUERY_SIGNATURE}"
            item: dict[str, Any] = {
                "id": 7,
                "status": told.image_status,
                "original_filename": told.image_name,
                "heard": sorted(spellings(credentials)),
                "cookie": COOKIE,
                "body": body.decode("utf-8", "replace")[-3000:],
                "token": MINTED_TOKEN,
                "download_url": link,
                "upscaled_dimensions": html.escape(credentials),
            }
            data = [item] if path in {"/api/images", "/api/batches"} else item
            told_all = {"success": True, "message": f"You are {credentials}", "data": data}
            return status, "application/json", json.dumps(told_all).encode()

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.handle_one)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.base_url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
