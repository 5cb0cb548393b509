"""The contract itself and its reference pages, for people and generators. They stand outside the contract."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import flask

from handlers.transport.contract import BASE_PATH, JSON_PATH, YAML_PATH
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    from handlers.transport.contract import Contract

# Redoc would report to its makers otherwise. It shows no sample whose label is not in the list.
_START = """
import { init } from "./docs/redoc.js";
const languages = [
  { lang: "curl" },
  { lang: "Python", label: "Python (requests)" },
  { lang: "JavaScript", label: "JavaScript (fetch)" },
  { lang: "PHP", label: "PHP (curl)" },
  { lang: "Payload" },
];
const options = { disableTelemetry: true, codeSamples: { languages } };
init("./api/openapi.json", options, document.getElementById("redoc"));
"""
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Uprez API</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0 }}</style>
<noscript>These pages need JavaScript. The same stands in <a href="./api/openapi.yaml">openapi.yaml</a>.</noscript>
<div id="redoc"></div>
<script type="module">{_START}</script>
</html>
"""
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{b64encode(sha256(_START.encode()).digest()).decode()}'",
        "style-src 'unsafe-inline'",  # Redoc writes its styles into the page
        "font-src data:",
        "img-src 'self' data:",  # not the makers' emblem, which Redoc would fetch from them
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class _Document:
    """A view of unchanging content, which a client that has it need not fetch again."""

    def __init__(self, media_type: str, content: bytes) -> None:
        self.media_type = media_type
        self.content = content
        self._etag = sha256(content).hexdigest()

    def __call__(self) -> flask.Response:
        if flask.request.if_none_match.contains_weak(self._etag):
            response = flask.Response(status=304)
        else:
            response = flask.Response(self.content, content_type=self.media_type)
        response.set_etag(self._etag)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
        return response


def add_reference(app: flask.Flask, contract: Contract) -> None:
    documents = {
        f"{BASE_PATH}{JSON_PATH}": _Document("application/json", json_bytes(contract.document)),
        f"{BASE_PATH}{YAML_PATH}": _Document("application/yaml", contract.text.encode()),
        "/docs": _Document("text/html; charset=utf-8", _PAGE.encode()),
        "/docs/redoc.js": _Document("text/javascript; charset=utf-8", _redoc()),
    }
    for path, view in documents.items():
        app.add_url_rule(path, path, view, provide_automatic_options=False)


def _redoc() -> bytes:
    """Redoc's script, out of the package that brings it; its Python code is not needed, and not loaded."""
    package = distribution("flask-openapi-redoc")
    script = package.locate_file("flask_openapi_redoc/templates/redoc/js/redoc.standalone.js")
    return Path(str(script)).read_bytes()
