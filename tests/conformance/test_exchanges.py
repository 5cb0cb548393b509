from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import requests
from leaky_server import PATH_SIGNATURE, QUERY_SIGNATURE, spellings

from conformance.curl import curl_line
from conformance.exchanges import Exchange
from conformance.images.samples import make_sample
from conformance.redaction import HIDDEN, Secrets
from conformance.reports.exchange import exchange_row

TOKEN = "17|aB3/dE+fG=hI-jK_lM.nO~pQ"
PASSWORD = 'Corr"ect\\Horse/1&<é> $'
LINK = f"http://host/api/files/{PATH_SIGNATURE}/kit.png?expires=1999999999&signature={QUERY_SIGNATURE}"


@pytest.fixture
def secrets() -> Secrets:
    return Secrets({"TOKEN": TOKEN, "TOKEN_B": None, "PASSWORD": PASSWORD})


def exchange(
    response: bytes = b"{}", response_headers: dict[str, str] | None = None, **request: Any
) -> Exchange:
    prepared = requests.Request(**{"method": "GET", "url": "http://host/api/user", **request}).prepare()
    body = prepared.body or b""
    return Exchange(
        str(prepared.method), str(prepared.url), dict(prepared.headers), body if isinstance(body, bytes) else body.encode(),
        200, response_headers or {"Content-Type": "application/json"}, response, 0.1,
    )  # fmt: skip


@pytest.mark.parametrize("secret", [TOKEN, TOKEN.partition("|")[2], PASSWORD])
def test_secret_is_hidden_in_every_encoding(secrets: Secrets, secret: str) -> None:
    for spelling in spellings(secret):
        hidden = secrets.hide(f"before {spelling} behind")

        assert HIDDEN in hidden
        assert secret not in hidden
        assert spelling not in hidden
        assert hidden.startswith("before ")
        assert hidden.endswith(" behind")


@pytest.mark.parametrize(
    "text",
    ["Bearer 17|aB3/dE+fG=h", "…fG=hI-jK_lM.nO~pQ", "17|aB3/dE+fG=hI-jK_lM.nO~pX", "aB3/dE+fG=hI-j"],
)
def test_truncated_or_altered_token_is_hidden(secrets: Secrets, text: str) -> None:
    hidden = secrets.hide(text)

    assert "dE+fG" not in hidden
    assert "lM.nO" not in hidden


def test_tokens_and_links_of_responses_are_hidden(secrets: Secrets) -> None:
    secrets.learn({"data": [{"token": "99|abcdefghijkl", "download_url": LINK, "name": "my laptop"}]})

    hidden = secrets.hide(f"99|abcdefghijkl and {LINK}, my laptop")

    assert hidden == (
        f"{HIDDEN} and http://host/api/files/{HIDDEN}/kit.png?expires=1999999999&signature={HIDDEN}, my laptop"
    )


def test_altered_link_does_not_reveal_the_rest(secrets: Secrets) -> None:
    secrets.learn({"download_url": LINK})

    hidden = secrets.hide(LINK.replace(PATH_SIGNATURE, f"{PATH_SIGNATURE[:-1]}X").replace("9f86d0", "0f86d0"))

    assert PATH_SIGNATURE[:8] not in hidden
    assert QUERY_SIGNATURE[8:] not in hidden


def test_signed_link_is_recognized_by_its_parameters(secrets: Secrets) -> None:
    link = "https://bucket.example/k.png?X-Amz-Credential=AKIA123&X-Amz-Signature=abc123def456"

    assert "AKIA123" not in secrets.hide(link)
    assert "abc123def456" not in secrets.hide(json.dumps({"Location": link}))


def test_redirect_targets_and_cookies_are_hidden(secrets: Secrets) -> None:
    secrets.learn_headers({"Location": LINK, "Set-Cookie": "session=c00kieOfThisSession; Path=/"})

    assert PATH_SIGNATURE not in secrets.hide(LINK)
    assert secrets.hide("c00kieOfThisSession") == HIDDEN


def test_other_text_is_unchanged(secrets: Secrets) -> None:
    secrets.learn(
        {
            "links": {"next": "http://host/api/images?per_page=10&status=completed&page=2"},
            "original_filename": "uprez-kit-1a2b3c4d-kit.png",
        }
    )
    text = "GET http://host/api/images/42?per_page=10&page=2 uprez-kit-1a2b3c4d-kit.png 640x480 realesrgan-x4plus"

    assert secrets.hide(text) == text


def test_invalid_xml_characters_are_replaced(secrets: Secrets) -> None:
    assert secrets.sanitize("a\0b\x1b[31mc\ud800\n") == "a�b�[31mc�\n"


def test_secret_headers_are_hidden(secrets: Secrets) -> None:
    shown = exchange_row(
        exchange(
            response_headers={"Set-Cookie": "id=unheard-of", "X-Id": "7"},
            auth=("jane@example.com", "unheard-of"),
        ),
        secrets,
    )

    assert shown["request"]["headers"]["Authorization"] == HIDDEN
    assert shown["response"]["headers"] == {"Set-Cookie": HIDDEN, "X-Id": "7"}
    assert "unheard-of" not in json.dumps(shown)
    assert f"Basic {HIDDEN}" in shown["curl"]


def test_body_is_redacted_before_it_is_cut(secrets: Secrets) -> None:
    shown = exchange_row(exchange(response=b"x" * 3990 + TOKEN.encode() + b"y" * 100), secrets)

    assert "dE+fG" not in shown["response"]["body"]
    assert shown["response"]["body"].endswith("bytes)")


def curl(secrets: Secrets, **request: Any) -> list[str]:
    """Return the words of the curl line as a shell splits them."""
    return shlex.split(curl_line(exchange(**request), secrets))


def test_curl_line_has_variables_for_secrets(secrets: Secrets) -> None:
    line = curl_line(exchange(method="DELETE"), secrets)
    with_token = curl_line(exchange(method="DELETE", url="http://host/api/images/7"), secrets)
    request = Exchange(
        "DELETE", "http://host/api/images/7", {"Authorization": f"Bearer {TOKEN}", "Accept": "*/*"}, b"",
        200, {}, b"", 0.1,
    )  # fmt: skip

    assert line == "curl -i -X DELETE http://host/api/user"
    assert with_token == "curl -i -X DELETE http://host/api/images/7"
    assert (
        curl_line(request, secrets)
        == 'curl -i -X DELETE -H "Authorization: Bearer $TOKEN" http://host/api/images/7'
    )


def test_curl_line_shows_only_invented_tokens(secrets: Secrets) -> None:
    secrets.learn({"token": "99|abcdefghijkl"})

    def line(token: str) -> str:
        request = Exchange("GET", "http://host/", {"Authorization": f"Bearer {token}"}, b"", 200, {}, b"", 0)
        return curl_line(request, secrets)

    assert '"Authorization: Bearer $ANOTHER_TOKEN"' in line("99|abcdefghijkl")
    assert "Bearer no-token-of-anybody" in line("no-token-of-anybody")
    assert "dE+fG" not in line(f"{TOKEN}x")


@pytest.mark.parametrize("sentence", ["A Bearer token is wanted", "Send Bearer tokens.", "No bearer token."])
def test_text_about_bearer_tokens_is_not_hidden(sentence: str) -> None:
    assert Secrets().sanitize(sentence) == sentence


@pytest.mark.parametrize("text", ["Bearer token-of-mine", "Bearer tokens7", "bearer token.x"])
def test_token_that_begins_with_token_is_hidden(text: str) -> None:
    assert Secrets().sanitize(text).endswith(" [hidden]")


def test_curl_line_of_an_upload(secrets: Secrets) -> None:
    sent = make_sample("png")
    request = {
        "method": "POST",
        "url": "http://host/api/images/upscale",
        "files": [("image", sent.part)],
        "data": {"scale_factor": "2", "model": "it's $5"},
    }

    assert curl(secrets, **request) == [
        "curl", "-i", "-X", "POST", "-F", "scale_factor=2", "-F", "model=it's $5",
        "-F", "image=@kit.png;type=image/png", "http://host/api/images/upscale",
    ]  # fmt: skip
    shown = exchange_row(exchange(**request), secrets, files=True)["request"]
    assert shown["body"] == (
        f"scale_factor: 2\nmodel: it's $5\nimage: kit.png (image/png, {len(sent.content):,} bytes)"
    )
    form = exchange(**request).form
    assert form is not None
    assert form[-1].content == sent.content
    assert [file["name"] for file in shown["files"]] == ["kit.png"]


def test_curl_line_of_unusual_and_long_fields(
    secrets: Secrets,
) -> None:
    fields = {"one": "@etc", "two": "x" * 5000, "three": "a;type=b"}
    words = curl(
        secrets, method="POST", url="http://host/", data=fields, files={"image": ("a.png", b"1", "image/png")}
    )

    assert words[4:10] == [
        "--form-string",
        "one=@etc",
        "-F",
        "two=<field.bin",
        "--form-string",
        "three=a;type=b",
    ]


def test_curl_line_of_unusual_file_name(secrets: Secrets) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", files=[("image", ("../a b.png", b"\x89PNG", "image/png"))]
    )

    assert 'image=@image;filename="../a b.png";type=image/png' in words


@pytest.mark.parametrize("body", [b"--no\r\nboundary", b"--x\r\nno header\r\n--x--", b"--x\r\n\r\nleft open"])
def test_curl_line_of_malformed_form_has_its_bytes(secrets: Secrets, body: bytes) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", data=body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )  # fmt: skip

    assert words[words.index("--data-binary") + 1] == body.decode()
    assert "Content-Type: multipart/form-data; boundary=x" in words


def test_curl_line_of_json_hides_secrets(secrets: Secrets) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", json={"email": "a@example.com", "password": PASSWORD}
    )

    assert json.loads(words[words.index("--data-binary") + 1]) == {
        "email": "a@example.com",
        "password": HIDDEN,
    }
    assert "Content-Type: application/json" in words


def test_curl_line_of_binary_body_names_a_file(secrets: Secrets) -> None:
    assert "@request.bin" in curl(secrets, method="POST", url="http://host/", data=b"\xff\xfe\0")
