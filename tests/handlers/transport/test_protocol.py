"""Malformed HTTP gets an error in the envelope and closes the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gradients import MakeGradient
    from tests.handlers.conftest import Client, RawConnection, Server, User

POST = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /api/user HTTP/1.1\r\nHost: x\r\n\r\n"

MALFORMED = {
    "length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "chunks and length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED,
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one line": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +11\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length of words": POST + b"Content-Length: two\r\n\r\n{}",
    "an endless length": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n{}",
    "a bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a bare LF after the request line": b"GET /health/live HTTP/1.1\nHost: x\n\n",
    "a bare LF after a header": b"GET /health/live HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare CR": b"GET /health/live HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a space before the colon": GET + b"Content-Length : 5\r\n\r\n",
    "a header without a name": GET + b": x\r\n\r\n",
    "a header without a colon": GET + b"nonsense\r\n\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "words": b"hello there, how are you?\r\n\r\n",
    "no method": b" /health/live HTTP/1.1\r\n\r\n",
    "a method of lower case": b"get /health/live HTTP/1.1\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\n\r\n",
    "a target without a slash": b"GET health HTTP/1.1\r\n\r\n",
    "another protocol": b"GET / ICY/1.0\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bytes in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_http_returns_400_and_closes(connection: RawConnection, kind: str) -> None:
    connection.send(MALFORMED[kind])

    response = connection.read_response()

    assert (response.status, response.message) == (400, "The request is malformed.")
    assert response.headers["Connection"] == "close"
    assert connection.is_closed()


def test_smuggled_request_gets_no_response(server: Server) -> None:
    for kind in ("length and chunks", "chunks and length", "two lengths"):
        for _ in range(5):
            with server.connect() as connection:
                connection.send(MALFORMED[kind])
                assert connection.read_response().status == 400
                assert connection.is_closed()


def test_unread_body_is_not_parsed_as_a_request(connection: RawConnection) -> None:
    """Bytes after an early rejection are not the next request."""
    connection.send(
        b"POST /api/images/upscale HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + SMUGGLED
    )

    assert connection.read_response("POST", "/api/images/upscale").status == 401
    assert connection.is_closed()


@pytest.mark.parametrize("size", [40_000, 100_000, 2_000_000])
@pytest.mark.parametrize("kind", ["one header", "many headers", "target", "name"])
def test_too_large_header_returns_431(server: Server, kind: str, size: int) -> None:
    content = {
        "one header": GET + b"X: " + b"x" * size + b"\r\n\r\n",
        "many headers": GET + b"X: yyyy\r\n" * (size // 5) + b"\r\n",
        "target": b"GET /" + b"x" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "name": GET + b"X" * size + b": y\r\n\r\n",
    }[kind]
    for _ in range(3):
        with server.connect() as connection:
            connection.send(content)
            response = connection.read_response()
            assert (response.status, response.message) == (431, "The request header is too large.")
            assert response.headers["Connection"] == "close"


def test_endless_header_is_rejected(server: Server) -> None:
    """The parser reports only complete headers, so that their size must be limited before."""
    for start in (GET + b"X: ", GET + b"X", b"GET /", b"G"):
        with server.connect() as connection:
            connection.send(start)
            try:
                for _ in range(64):
                    connection.send(b"x" * 65536)
            except ConnectionError:
                pass
            assert connection.read_response().status in {400, 431}


def test_large_header_within_the_limit_is_accepted(connection: RawConnection, jane: User) -> None:
    for _ in range(3):
        response = connection.request(
            f"GET /api/user HTTP/1.1\nHost: x\nAuthorization: Bearer {jane.token}\nX: {'x' * 20_000}"
        )
        assert response.status == 200


def test_trailers_have_a_size_limit(connection: RawConnection) -> None:
    connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    try:
        for _ in range(64):
            connection.send(b"X: " + b"x" * 65536 + b"\r\n")
        connection.send(b"\r\n")
    except ConnectionError:
        pass

    assert connection.read_response("POST", "/api/auth/login").status in {400, 422, 431}


def test_connection_is_reused(connection: RawConnection, jane: User) -> None:
    body = b'{"email": "x", "password": "x"}'
    for _ in range(3):
        assert (
            connection.request(f"GET /api/user HTTP/1.1\nHost: x\nAuthorization: Bearer {jane.token}").status
            == 200
        )
        response = connection.request(
            f"POST /api/auth/login HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: {len(body)}",
            body,
        )
        assert response.status == 401
        assert "Connection" not in response.headers


def test_pipelined_requests_get_responses_in_order(connection: RawConnection) -> None:
    connection.send(
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /api/user HTTP/1.1\r\nHost: x\r\n\r\n" * 3
    )

    statuses = [connection.read_response("GET", path).status for path in ("/health/live", "/api/user") * 3]

    assert statuses == [200, 401] * 3


def test_pipelined_head_requests_get_their_own_responses(connection: RawConnection) -> None:
    sent_requests = [
        ("HEAD", "/api/user"),
        ("GET", "/api/nowhere"),
        ("HEAD", "/health/live"),
        ("GET", "/health/live"),
    ]
    connection.send(
        b"".join(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for method, path in sent_requests)
    )

    assert [connection.read_response(method, path).status for method, path in sent_requests] == [
        401,
        404,
        200,
        200,
    ]


# Otherwise a client would get 400 for a request that was executed.
def test_complete_requests_before_garbage_get_responses(
    connection: RawConnection, server: Server, jane: User
) -> None:
    token = jane.token
    revoke = f"DELETE /api/user/tokens/{token.partition('|')[0]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.send(revoke.encode() + GET + b"\r\n" + MALFORMED["garbage"])

    assert connection.read_response("DELETE", "/api/user/tokens/1").status == 200
    assert connection.read_response("GET", "/health/live").status == 200
    assert connection.read_response().status == 400
    assert connection.is_closed()


# The fixture ``server`` checks the log for errors at the end.
def test_disconnect_with_pipelined_requests_does_not_crash(server: Server, client: Client) -> None:
    for _ in range(20):
        with server.connect() as connection:
            connection.send(b"GET /api/plans HTTP/1.1\r\nHost: x\r\n\r\n" * 10)

    assert client.get("/health/live").status == 200


@pytest.mark.parametrize(
    "head",
    [
        "GET http://evil.example/health/live HTTP/1.1\nHost: x",
        "GET /health/live HTTP/1.0",
        "GET /health/live HTTP/1.1",
        "GET /health/live HTTP/1.1\nHost:",
        "GET /health/live HTTP/1.1\nHost: a\nHost: b",
        "GET /health/live HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13",
        "GET /health/live HTTP/1.1\nHost: x\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x",
        "GET /health/live?a=%FF%00 HTTP/1.1\nHost: x",
        "GET /health/live#x HTTP/1.1\nHost: x",
        "GET /health/live HTTP/1.1\nHost: x\nAccept: nonsense/////;q=x",
        "GET /health/live HTTP/1.1\nHost: x\nX: \xff",
        "GET /health/live HTTP/1.1\nHost: x\nExpect: something-else",
        "GET /health/live HTTP/1.1\nHost: x\nCookie: a=b; =; ;;",
        "GET /health/live HTTP/1.1\nHost: x\nIf-Modified-Since: yesterday\nRange: bytes=0-1",
    ],
)
def test_unusual_but_valid_request_returns_200(connection: RawConnection, head: str) -> None:
    assert connection.request(head).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:99999",
        "a b",
        '"><script>',
        "x/../y",
        "[::1]:8000",
        "[",
        "\xff\xfe",
        "x" * 5000,
        "user@host",
        "%0d%0aX: y",
        "\t",
    ],
)
def test_forged_host_does_not_crash(connection: RawConnection, jane: User, host: str) -> None:
    for _ in range(2):
        response = connection.request(
            f"GET /api/user HTTP/1.1\nAuthorization: Bearer {jane.token}\nHost: {host}"
        )
        assert response.status in {200, 400}
        if response.status == 200:
            assert response.data["id"] == jane.account.id
            assert response.data["profile_photo_url"].startswith("http://")


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: for=203.0.113.7;host=evil.example;proto=https",
        "X-Original-URL: /health/live",
        "X-Real-IP: nonsense",
    ],
)
def test_forwarding_headers_are_ignored_by_default(
    connection: RawConnection, server: Server, jane: User, header: str
) -> None:
    response = connection.request(
        f"GET /api/user HTTP/1.1\nHost: 127.0.0.1:{server.port}\nAuthorization: Bearer {jane.token}\n{header}"
    )

    assert response.status == 200
    assert response.data["profile_photo_url"].startswith(f"{server.settings.origin}/api/")


@pytest.mark.parametrize("first", ["application/json", "multipart/form-data; boundary=b", "text/plain"])
@pytest.mark.parametrize("second", ["application/json", "multipart/form-data; boundary=b", "text/plain"])
def test_first_of_two_content_types_counts(connection: RawConnection, first: str, second: str) -> None:
    """All layers must interpret the body like the layer that validated it."""
    body = b'{"email": "x", "password": "x"}'

    response = connection.request(
        f"POST /api/auth/login HTTP/1.1\nHost: x\nContent-Type: {first}\nContent-Type: {second}\n"
        f"Content-Length: {len(body)}",
        body,
    )

    assert response.status == (401 if first == "application/json" else 415)


def test_upload_in_many_small_packets_is_complete(
    connection: RawConnection, jane: User, gradient: MakeGradient
) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
        + gradient("PNG", 64, 48)
        + b"\r\n--b--\r\n"
    )
    connection.send(
        b"POST /api/images/upscale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nAuthorization: Bearer "
        + jane.token.encode()
        + b"\r\n\r\n"
    )
    for at in range(0, len(body), 7):
        piece = body[at : at + 7]
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")

    assert connection.read_response("POST", "/api/images/upscale").status == 202


def test_server_is_ready_after_all_these_tests(client: Client) -> None:
    assert client.get("/health/ready").status == 200
