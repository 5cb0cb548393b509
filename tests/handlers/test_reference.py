"""Tests of the served contract and its reference page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from handlers.code_samples import DEFAULT_ADDRESS, apply_overlay, load_samples
from project_root import ROOT

if TYPE_CHECKING:
    from tests.handlers.conftest import Client

CONTRACT = (ROOT / "openapi.yaml").read_bytes()
MEDIA_TYPES = {
    "/api/openapi.json": "application/json",
    "/api/openapi-3.1.json": "application/json",
    "/api/openapi.yaml": "application/yaml",
    "/docs": "text/html; charset=utf-8",
    "/docs/redoc.js": "text/javascript; charset=utf-8",
}
every_document = pytest.mark.parametrize("path", MEDIA_TYPES)


def test_contract_is_served_unchanged(client: Client) -> None:
    assert client.get("/api/openapi.yaml").body == CONTRACT


def test_json_contract_has_samples_with_the_address_of_the_server(client: Client) -> None:
    text = client.get("/api/openapi.json", headers={"Host": "images.example.com:8443"}).body.decode()
    document = json.loads(text)

    assert DEFAULT_ADDRESS not in text
    expected = json.dumps(apply_overlay(yaml.safe_load(CONTRACT), load_samples()))
    assert document == json.loads(expected.replace(DEFAULT_ADDRESS, "http://images.example.com:8443"))
    (curl, *_) = document["paths"]["/images/upscale"]["post"]["x-codeSamples"]
    assert "http://images.example.com:8443/api/images/upscale" in curl["source"]


@every_document
def test_documents_need_no_token_and_are_not_counted(client: Client, path: str) -> None:
    response = client.get(path)

    assert (response.status, response.headers["Content-Type"]) == (200, MEDIA_TYPES[path])
    assert not [name for name in response.headers if "RateLimit" in name]


@every_document
def test_matching_etag_returns_304(client: Client, path: str) -> None:
    etag = client.get(path).headers["ETag"]

    for known in (etag, f'"another", W/{etag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status, again.headers["ETag"]) == (304, etag)
        assert again.headers["Cache-Control"] == "no-cache"
    assert client.get(path, headers={"If-None-Match": '"another"'}).status == 200


@every_document
def test_head_has_the_headers_of_get(client: Client, path: str) -> None:
    head, get = client.request("HEAD", path), client.get(path)

    assert head.status == 200
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers[name] == get.headers[name]


@every_document
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_return_405(client: Client, path: str, method: str) -> None:
    response = client.request(method, path)

    assert response.status == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/api/openapi", "/api/openapi.json/x", "/api/openapi.yml", "/docs/x"])
def test_other_paths_return_404(client: Client, path: str) -> None:
    assert client.get(path).status == 404


# The Content-Security-Policy keeps a browser from other hosts, whatever Redoc's script requests.
def test_pages_load_nothing_from_another_host(client: Client) -> None:
    page = client.get("/docs")
    policy = dict(
        directive.split(" ", 1) for directive in page.headers["Content-Security-Policy"].split("; ")
    )

    assert b"//" not in page.body
    assert policy["default-src"] == "'none'"
    sources = {source for value in policy.values() for source in value.split()}
    hashes = {source for source in sources if re.fullmatch(r"'sha256-[\w+/]{43}='", source)}
    assert sources - hashes == {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert policy["script-src"].split() == ["'self'", *hashes]
