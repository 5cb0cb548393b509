"""Routes for the contract itself and its reference page. The contract does not describe them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import flask

from handlers.transport.contract import BASE_PATH, JSON_PATH, YAML_PATH
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    from handlers.transport.contract import Contract

# Redoc sends telemetry to its vendor by default, and hides samples whose label is not in the list.
_SCRIPT = """
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
<noscript>These pages need JavaScript. The contract is also available as a file: <a href="./api/openapi.yaml">openapi.yaml</a></noscript>
<div id="redoc"></div>
<script type="module">{_SCRIPT}</script>
</html>
"""
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'",
        "style-src 'unsafe-inline'",  # Redoc writes its styles into the page
        "font-src data:",
        "img-src 'self' data:",  # excludes the vendor's logo, which Redoc would load from its site
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class _Document:
    """View of constant content, with an ETag for revalidation."""

    def __init__(self, media_type: str, content: bytes) -> None:
        self.media_type = media_type
        self.content = content
        self._etag = sha256(content).hexdigest()

    def __call__(self) -> flask.Response:
        """Respond with the document, or with 304 if the client has this version.

        The client must revalidate each time.
        """
        if flask.request.if_none_match.contains_weak(self._etag):
            response = flask.Response(status=HTTPStatus.NOT_MODIFIED)
        else:
            response = flask.Response(self.content, content_type=self.media_type)
        response.set_etag(self._etag)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
        return response


def add_reference(app: flask.Flask, contract: Contract) -> None:
    """Add the routes of the contract, in JSON and YAML, and of the reference page."""
    documents = {
        f"{BASE_PATH}{JSON_PATH}": _Document("application/json", json_bytes(contract.document)),
        f"{BASE_PATH}{YAML_PATH}": _Document("application/yaml", contract.text.encode()),
        "/docs": _Document("text/html; charset=utf-8", _PAGE.encode()),
        "/docs/redoc.js": _Document("text/javascript; charset=utf-8", _redoc()),
    }
    for path, view in documents.items():
        app.add_url_rule(path, path, view, provide_automatic_options=False)


def _redoc() -> bytes:
    """Return Redoc's script from its package, without importing the package."""
    package = distribution("flask-openapi-redoc")
    script = package.locate_file("flask_openapi_redoc/templates/redoc/js/redoc.standalone.js")
    return Path(str(script)).read_bytes()
