"""The HTTP client: it records every exchange and waits as long as Retry-After requires."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import certifi
import requests

from conformance.exchanges import Exchange
from conformance.verdicts import CheckFailed, Inconclusive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.redaction import Secrets

_MAX_REDIRECTS = 5


class Unreachable(Inconclusive):
    """The server did not respond."""


class ResponseObject(dict[str, Any]):
    """A JSON object of a response; reading a missing field raises CheckFailed."""

    def __missing__(self, name: str) -> Any:
        """Fail the check that reads a field which the response lacks."""
        raise CheckFailed(f"A response lacks the field `{name}`.", expected=name, actual=sorted(self))


class Response:
    """A response. Its properties raise CheckFailed where it does not have the form of every response."""

    def __init__(self, raw: requests.Response) -> None:
        self.raw = raw
        self.status = raw.status_code
        self.headers = raw.headers
        self.content = raw.content

    @property
    def media_type(self) -> str:
        """Return the media type in lower case, without parameters; an empty string without a Content-Type."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def json(self) -> Any:
        """Return the parsed body, with a ResponseObject for each object.

        Raise CheckFailed if it is not JSON.
        """
        try:
            return self.raw.json(object_hook=ResponseObject)
        except (ValueError, RecursionError):
            raise CheckFailed(
                f"The response {self.status} to {self.request_line} is not JSON.",
                expected="a JSON object",
                actual=self.raw.text[:200],
            ) from None

    @property
    def request_line(self) -> str:
        """Return method and path of the request, for messages."""
        request = self.raw.request
        return f"{request.method} {request.path_url.partition('?')[0]}"

    @property
    def data(self) -> Any:
        """Return the `data` of the body, whatever the status. Raise CheckFailed if it is missing."""
        body = self.json
        if not isinstance(body, dict) or "data" not in body:
            raise CheckFailed(
                f"The response to {self.request_line} has no `data`.", expected="data", actual=body
            )
        return body["data"]

    @property
    def errors(self) -> dict[str, list[str]]:
        """Return the `errors` of the body: the fields of a 422, each with its error messages.

        Raise CheckFailed unless it is an object; neither the status nor the messages are checked.
        """
        body = self.json
        errors = body.get("errors") if isinstance(body, dict) else None
        if not isinstance(errors, dict):
            raise CheckFailed(
                f"The response {self.status} to {self.request_line} names no fields.",
                expected="errors: {field: [message]}",
                actual=body,
            )
        return errors

    def expect(self, *statuses: int, why: str = "") -> Response:
        """Return the response itself. Raise CheckFailed for any other status.

        ``why`` describes the request in the message, for example "with a revoked token".
        """
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            reason = f" {why}" if why else ""
            raise CheckFailed(
                f"{self.request_line}{reason} returned {self.status} and should return {wanted}.",
                expected=wanted,
                actual=self.status,
            )
        return self

    def expect_rejected(self, *fields: str, why: str = "") -> Response:
        """Return the response itself.

        Raise CheckFailed unless it is a 422 with errors for at least these fields. More fields may have
        errors. ``why`` describes the request in the message.
        """
        errors = self.expect(422, why=why).errors
        for field in fields:
            if field not in errors:
                raise CheckFailed(
                    f"The 422 to {self.request_line}{f' {why}' if why else ''} names no error for `{field}`.",
                    expected=field,
                    actual=sorted(errors),
                )
        return self

    def permitted(self) -> Response:
        """Return the response itself.

        Raise Inconclusive for a 403: it depends on the account, not on the server.
        """
        if self.status == HTTPStatus.FORBIDDEN:
            raise Inconclusive(
                f"{self.request_line} returned 403. Use a token of an account whose plan allows it and that has enough "
                "of its monthly quota left."
            )
        return self


class Transport:
    """The connection pool of a run and the record of its exchanges."""

    def __init__(
        self, base_url: str, *, timeout: float, max_wait: float, secrets: Secrets, ca_file: str | None = None
    ) -> None:
        """Open a session that keeps no cookies and ignores proxies and .netrc files of the environment.

        ``timeout`` limits the connection and each wait for data, ``max_wait`` all pauses before retries of
        one request, both in seconds. ``ca_file`` has certificates of authorities to trust in addition to the
        usual ones; they are written together to a temporary file, which ``close`` deletes. Raise OSError if
        ``ca_file`` is not readable.
        """
        self.base_url = base_url.rstrip("/")
        self.secrets = secrets
        self.exchanges: list[Exchange] = []
        self.followed_urls: set[str] = set()  # targets of links: the contract does not describe them
        self.posts_without_response = 0  # each of them may have created something
        # A file with the certificates of all trusted authorities; None for the default of ``requests``.
        self.authorities: str | None = None
        self._resources = ExitStack()
        self._timeout = timeout
        self._max_wait = max_wait
        self._session = self._resources.enter_context(requests.Session())
        self._session.trust_env = False  # a .netrc file would replace the token with a password
        # All clients of a run share the session: a cookie would mix up their identities.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if ca_file is not None:
            folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="uprez-kit-")))
            both = folder / "authorities.pem"
            both.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + Path(ca_file).read_bytes())
            self.authorities = self._session.verify = str(both)

    def close(self) -> None:
        """Close the connections and delete the temporary file of authorities."""
        self._resources.close()

    def url(self, path: str) -> str:
        """Return the URL of a path under the base URL; return a whole URL unchanged."""
        return path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        wait_on_429: bool = True,
        **body: Any,
    ) -> Response:
        """Send a request, without following redirects, and return its response, whatever the status.

        Wait and repeat it after a 503, or a 429 if ``wait_on_429``. Raise Inconclusive if such a response has
        no Retry-After in seconds or all pauses exceed ``max_wait``, and Unreachable without a response.
        Record each attempt in ``exchanges``. ``token`` replaces an Authorization in ``headers``; ``body`` is
        json, data, files or params.
        """
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        waited = 0.0
        while True:
            response = self._send_once(method, self.url(path), sent, body)
            is_limited = wait_on_429 and response.status == HTTPStatus.TOO_MANY_REQUESTS
            if not is_limited and response.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return response
            pause = retry_after(response)
            if pause is None or waited + pause > self._max_wait:
                raise Inconclusive(_wait_refusal(response, pause, self._max_wait))
            time.sleep(pause)
            waited += pause

    def follow(self, link: str, **options: Any) -> Response:
        """GET a link, which may be relative to the base URL, and return its response, whatever the status.

        Follow at most five redirects, but none if ``options`` (those of ``send``) contain ``token``. Add the
        visited URLs to ``followed_urls`` unless a token is sent, and the targets to the secrets. Raise
        Inconclusive as ``send`` does.
        """
        address = urljoin(f"{self.base_url}/", link)
        response = self._get_link(address, options)
        for _ in range(_MAX_REDIRECTS):
            if not response.raw.is_redirect or "token" in options:
                break
            address = urljoin(address, response.headers["location"])
            self.secrets.learn({"download_url": address})
            response = self._get_link(address, options)
        return response

    def _get_link(self, address: str, options: dict[str, Any]) -> Response:
        """GET an absolute URL; record it in ``followed_urls`` unless ``options`` contain a token."""
        if "token" not in options:
            self.followed_urls.add(requests.Request("GET", address).prepare().url or address)
        return self.send("GET", address, **options)

    def _send_once(self, method: str, url: str, headers: dict[str, str], body: dict[str, Any]) -> Response:
        """Send one request and return its response.

        Raise Unreachable without one, for example after a timeout. Append the exchange in both cases, learn
        the secrets of the response's headers and JSON, and count a POST without a response in
        ``posts_without_response``.
        """
        began = time.monotonic()
        prepared = self._session.prepare_request(requests.Request(method, url, headers=headers, **body))
        request = (method, prepared.url or url, dict(prepared.headers), _bytes(prepared.body))
        self.posts_without_response += method == "POST"
        try:
            raw = self._session.send(prepared, timeout=self._timeout, allow_redirects=False)
        except requests.RequestException as reason:
            problem = f"{type(reason).__name__}: {reason}"
            self.exchanges.append(Exchange(*request, None, {}, b"", time.monotonic() - began, problem))
            raise Unreachable(
                f"{method} {url.partition('?')[0]} {_failure(reason, self._timeout)}"
            ) from reason
        self.posts_without_response -= method == "POST"
        self.secrets.learn_headers(raw.headers)
        if raw.headers.get("content-type", "").startswith("application/json"):
            with suppress(ValueError, RecursionError):
                self.secrets.learn(raw.json())
        received = (raw.status_code, dict(raw.headers), raw.content)
        self.exchanges.append(Exchange(*request, *received, time.monotonic() - began))
        return Response(raw)


class Client:
    """Requests with one token, or without a token."""

    def __init__(self, transport: Transport, token: str | None) -> None:
        self.transport = transport
        self.token = token

    def request(self, method: str, path: str, **options: Any) -> Response:
        """Send a request with the client's token and return its response, whatever the status.

        ``options`` are those of ``Transport.send``, except ``token``. Raise Inconclusive as it does.
        """
        return self.transport.send(method, path, token=self.token, **options)

    def get(self, path: str, **options: Any) -> Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> Response:
        return self.request("DELETE", path, **options)


def retry_after(response: Response) -> float | None:
    """Return the seconds of the Retry-After header, at least 0.1.

    Return None if it is missing or is not a whole number; an HTTP date is not read.
    """
    text = response.headers.get("retry-after", "").strip()
    return max(0.1, float(text)) if text.isdecimal() else None


def _wait_refusal(response: Response, pause: float | None, max_wait: float) -> str:
    """Return the message for a 429 or 503 that is not repeated.

    ``pause`` is None without a Retry-After in seconds; otherwise the pause exceeds what is left of
    ``max_wait``.
    """
    if pause is None:
        return f"{response.request_line} returned {response.status} without a Retry-After header in seconds."
    return (
        f"{response.request_line} returned {response.status} for {pause:.0f} s, longer than --max-wait "
        f"({max_wait:.0f} s). Raise the server's limit for the run, or --max-wait."
    )


def _failure(reason: requests.RequestException, timeout: float) -> str:
    """Return the end of a message about a request without a response, with advice that depends on the reason.

    ``timeout`` is in seconds.
    """
    if isinstance(reason, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):
            return (
                "got no response: the server's certificate is not trusted. Set --ca-file to the certificate of the "
                "authority that signed it."
            )
        return "got no response: the TLS handshake failed. Does the server use http:// at this address?"
    if isinstance(reason, requests.exceptions.ReadTimeout):
        return f"got no response within {timeout:.0f} s. Raise --timeout."
    return f"got no response ({type(reason).__name__}). Is the server running and reachable at --base-url?"


def _bytes(body: Any) -> bytes:
    """Return the body of a prepared request as bytes; empty for None, and text in UTF-8."""
    if body is None:
        return b""
    return body if isinstance(body, bytes) else str(body).encode()
