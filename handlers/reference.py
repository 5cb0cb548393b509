"""Routes for the contract itself and its reference page. The contract does not describe them."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask

from handlers.code_samples import DEFAULT_ADDRESS, apply_overlay, load_samples
from handlers.openapi31 import to_openapi31
from handlers.request import origin
from handlers.transport.contract import BASE_PATH, JSON_31_PATH, JSON_PATH, YAML_PATH
from handlers.transport.json_encoding import json_bytes

if TYPE_CHECKING:
    from handlers.transport.contract import Contract

# The address is written into code samples in four languages, so it must not have characters to escape.
_PLAIN_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+")
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
    """View of a document, with an ETag for revalidation."""

    def __init__(self, media_type: str, content: bytes) -> None:
        self.media_type = media_type
        self._content = content

    def content(self) -> bytes:
        """Return the document for the current request."""
        return self._content

    def __call__(self) -> flask.Response:
        """Respond with the document, or with 304 if the client has this version.

        The client must revalidate each time.
        """
        content = self.content()
        etag = sha256(content).hexdigest()
        if flask.request.if_none_match.contains_weak(etag):
            response = flask.Response(status=HTTPStatus.NOT_MODIFIED)
        else:
            response = flask.Response(content, content_type=self.media_type)
        response.set_etag(etag)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
        return response


class _ContractWithSamples(_Document):
    """View of the contract with code samples; its URLs have the address of this server."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__("application/json", json_bytes(document))

    def content(self) -> bytes:
        """Return the document with the address that the client used; the default one if it is not plain."""
        address = origin()
        if not _PLAIN_ADDRESS.fullmatch(address):
            return self._content
        return self._content.replace(DEFAULT_ADDRESS.encode(), address.encode())


def add_reference(app: flask.Flask, contract: Contract) -> None:
    """Add the routes of the contract, in JSON with code samples, in OpenAPI 3.0 and 3.1, in YAML as it is, and of the page."""
    with_samples = apply_overlay(contract.document, load_samples())
    documents = {
        f"{BASE_PATH}{JSON_PATH}": _ContractWithSamples(with_samples),
        f"{BASE_PATH}{JSON_31_PATH}": _ContractWithSamples(to_openapi31(with_samples)),
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
