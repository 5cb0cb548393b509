"""HTTP towards the server under test: records what was said, waits where it is told to wait."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import certifi
import requests

from conformance.exchanges import Exchange, Secrets
from conformance.verdicts import Broken, Inconclusive

if TYPE_CHECKING:
    from collections.abc import Mapping

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
_MOST_REDIRECTS = 5


class Unreachable(Inconclusive):
    """No answer came."""


class Given(dict[str, Any]):
    """An object that the server sent: what it lacks is the server's fault."""

    def __missing__(self, name: str) -> Any:
        raise Broken(f"An answer lacks the field `{name}`.", expected=name, actual=sorted(self))


class Answer:
    """What came back. Its properties raise Broken where it is not what every answer has to be."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.content = response.content

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def json(self) -> Any:
        try:
            return self.response.json(object_hook=Given)
        except (ValueError, RecursionError):
            raise Broken(
                f"The answer {self.status} to {self.asked} is no JSON.",
                expected="a JSON object",
                actual=self.response.text[:200],
            ) from None

    @property
    def asked(self) -> str:
        request = self.response.request
        return f"{request.method} {request.path_url.partition('?')[0]}"

    @property
    def data(self) -> Any:
        """What stands in the envelope of a success."""
        body = self.json
        if not isinstance(body, dict) or "data" not in body:
            raise Broken(f"The answer to {self.asked} has no `data`.", expected="data", actual=body)
        return body["data"]

    @property
    def errors(self) -> dict[str, list[str]]:
        """The fields of a 422, each with its sentences."""
        body = self.json
        errors = body.get("errors") if isinstance(body, dict) else None
        if not isinstance(errors, dict):
            raise Broken(
                f"The answer {self.status} to {self.asked} names no fields.",
                expected="errors: {field: [sentence]}",
                actual=body,
            )
        return errors

    def expect(self, *statuses: int, why: str = "") -> Answer:
        """Itself. Raises Broken for another status; ``why`` says what was asked that calls for these."""
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            reason = f" {why}" if why else ""
            raise Broken(
                f"{self.asked}{reason} is answered with {self.status} and should be with {wanted}.",
                expected=wanted,
                actual=self.status,
            )
        return self


class Transport:
    """One connection pool for all of a run, and the record of what went over it."""

    def __init__(
        self, base_url: str, *, timeout: float, max_wait: float, secrets: Secrets, ca_file: str | None = None
    ) -> None:
        """``timeout`` for one answer and ``max_wait`` for a server that asks to come back later, in seconds.

        ``ca_file`` has the certificates of authorities to trust besides the usual ones.
        """
        self.base_url = base_url.rstrip("/")
        self.secrets = secrets
        self.exchanges: list[Exchange] = []
        self.followed: set[str] = set()  # addresses that links led to: whatever stands there is no API
        self.unanswered_posts = 0  # of which nobody knows whether they made something
        # A file with the certificates of all authorities that are trusted; None for those of ``requests``.
        self.authorities: str | None = None
        self._ending = ExitStack()
        self._timeout = timeout
        self._max_wait = max_wait
        self._session = self._ending.enter_context(requests.Session())
        self._session.trust_env = False  # a .netrc would put a password of its own in place of the token
        # All callers of a run share the session: with a cookie, one would come as another.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if ca_file is not None:
            folder = Path(self._ending.enter_context(tempfile.TemporaryDirectory(prefix="uprez-kit-")))
            both = folder / "authorities.pem"
            both.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + Path(ca_file).read_bytes())
            self.authorities = self._session.verify = str(both)

    def close(self) -> None:
        self._ending.close()

    def url(self, path: str) -> str:
        """``path`` under the base URL; a whole URL, as links are, stays as it is."""
        return path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = True,
        **body: Any,
    ) -> Answer:
        """Ask, and ask again after a 503 that names a time, and after such a 429 if ``patient``. Raises Inconclusive.

        ``body`` is what ``requests`` takes: json, data, files, params.
        """
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        waited = 0.0
        while True:
            answer = self._once(method, self.url(path), sent, body)
            if answer.status not in ({TOO_MANY_REQUESTS, UNAVAILABLE} if patient else {UNAVAILABLE}):
                return answer
            pause = retry_after(answer)
            if pause is None or waited + pause > self._max_wait:
                raise Inconclusive(_why_not(answer, pause, self._max_wait))
            time.sleep(pause)
            waited += pause

    def follow(self, link: str, **options: Any) -> Answer:
        """A GET of what an answer links to, which may be relative to the base URL, and lead on from there."""
        address = urljoin(f"{self.base_url}/", link)
        if "token" not in options:
            self.followed.add(requests.Request("GET", address).prepare().url or address)
        answer = self.send("GET", address, **options)
        for _ in range(_MOST_REDIRECTS):
            if not (answer.response.is_redirect and "token" not in options):
                break
            address = urljoin(address, answer.headers["location"])
            self.secrets.learn({"download_url": address})
            self.followed.add(requests.Request("GET", address).prepare().url or address)
            answer = self.send("GET", address, **options)
        return answer

    def _once(self, method: str, url: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        began = time.monotonic()
        prepared = self._session.prepare_request(requests.Request(method, url, headers=headers, **body))
        asked = (method, prepared.url or url, dict(prepared.headers), _bytes(prepared.body))
        self.unanswered_posts += method == "POST"
        try:
            response = self._session.send(prepared, timeout=self._timeout, allow_redirects=False)
        except requests.RequestException as reason:
            problem = f"{type(reason).__name__}: {reason}"
            self.exchanges.append(Exchange(*asked, None, {}, b"", time.monotonic() - began, problem))
            raise Unreachable(
                f"{method} {url.partition('?')[0]} {_no_answer(reason, self._timeout)}"
            ) from reason
        self.unanswered_posts -= method == "POST"
        self.secrets.learn_headers(response.headers)
        if response.headers.get("content-type", "").startswith("application/json"):
            with suppress(ValueError, RecursionError):
                self.secrets.learn(response.json())
        answered = (response.status_code, dict(response.headers), response.content)
        self.exchanges.append(Exchange(*asked, *answered, time.monotonic() - began))
        return Answer(response)


class Client:
    """Requests of one caller: with a token, or without any."""

    def __init__(self, transport: Transport, token: str | None) -> None:
        self.transport = transport
        self.token = token

    def request(self, method: str, path: str, **options: Any) -> Answer:
        return self.transport.send(method, path, token=self.token, **options)

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.request("DELETE", path, **options)


def retry_after(answer: Answer) -> float | None:
    """Seconds; None where the header is missing or is not understood."""
    text = answer.headers.get("retry-after", "").strip()
    return max(0.1, float(text)) if text.isdecimal() else None


def _why_not(answer: Answer, pause: float | None, max_wait: float) -> str:
    if pause is None:
        return f"{answer.asked} is answered with {answer.status}, and no Retry-After says for how long."
    return (
        f"{answer.asked} is answered with {answer.status} for {pause:.0f} s, longer than --max-wait ({max_wait:.0f} s). "
        "Raise the server's limit for the run, or --max-wait."
    )


def _no_answer(reason: requests.RequestException, timeout: float) -> str:
    if isinstance(reason, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):
            return (
                "was not answered: the server's certificate is not trusted. Name the file of the authority that "
                "signed it with --ca-file."
            )
        return "was not answered: no TLS came about. Does the server speak http:// there?"
    if isinstance(reason, requests.exceptions.ReadTimeout):
        return f"was not answered within {timeout:.0f} s. Give the server longer with --timeout."
    return (
        f"was not answered ({type(reason).__name__}). Is the server running, and reachable under --base-url?"
    )


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else str(body).encode()
