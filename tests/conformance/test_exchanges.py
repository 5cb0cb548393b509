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


def exchange(response: bytes = b"{}", answered: dict[str, str] | None = None, **request: Any) -> Exchange:
    asked = requests.Request(**{"method": "GET", "url": "http://host/api/user", **request}).prepare()
    body = asked.body or b""
    return Exchange(
        str(asked.method), str(asked.url), dict(asked.headers), body if isinstance(body, bytes) else body.encode(),
        200, answered or {"Content-Type": "application/json"}, response, 0.1,
    )  # fmt: skip


@pytest.mark.parametrize("secret", [TOKEN, TOKEN.partition("|")[2], PASSWORD])
def test_a_secret_is_hidden_however_it_is_written(secrets: Secrets, secret: str) -> None:
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
def test_what_was_cut_off_a_token_or_changed_in_it_is_hidden_too(secrets: Secrets, text: str) -> None:
    hidden = secrets.hide(text)

    assert "dE+fG" not in hidden
    assert "lM.nO" not in hidden


def test_tokens_and_links_of_answers_are_hidden_from_then_on(secrets: Secrets) -> None:
    secrets.learn({"data": [{"token": "99|abcdefghijkl", "download_url": LINK, "name": "my laptop"}]})

    hidden = secrets.hide(f"99|abcdefghijkl and {LINK}, my laptop")

    assert hidden == (
        f"{HIDDEN} and http://host/api/files/{HIDDEN}/kit.png?expires=1999999999&signature={HIDDEN}, my laptop"
    )


def test_a_link_that_was_tampered_with_does_not_tell_the_rest(secrets: Secrets) -> None:
    secrets.learn({"download_url": LINK})

    hidden = secrets.hide(LINK.replace(PATH_SIGNATURE, f"{PATH_SIGNATURE[:-1]}X").replace("9f86d0", "0f86d0"))

    assert PATH_SIGNATURE[:8] not in hidden
    assert QUERY_SIGNATURE[8:] not in hidden


def test_a_signed_link_is_known_by_its_parameters_wherever_it_comes_from(secrets: Secrets) -> None:
    link = "https://bucket.example/k.png?X-Amz-Credential=AKIA123&X-Amz-Signature=abc123def456"

    assert "AKIA123" not in secrets.hide(link)
    assert "abc123def456" not in secrets.hide(json.dumps({"Location": link}))


def test_where_an_answer_sends_to_and_its_cookies_are_learnt(secrets: Secrets) -> None:
    secrets.learn_headers({"Location": LINK, "Set-Cookie": "session=c00kieOfThisSession; Path=/"})

    assert PATH_SIGNATURE not in secrets.hide(LINK)
    assert secrets.hide("c00kieOfThisSession") == HIDDEN


def test_what_is_no_secret_stays(secrets: Secrets) -> None:
    secrets.learn(
        {
            "links": {"next": "http://host/api/images?per_page=10&status=completed&page=2"},
            "original_filename": "uprez-kit-1a2b3c4d-kit.png",
        }
    )
    text = "GET http://host/api/images/42?per_page=10&page=2 uprez-kit-1a2b3c4d-kit.png 640x480 realesrgan-x4plus"

    assert secrets.hide(text) == text


def test_characters_that_xml_cannot_take_are_replaced(secrets: Secrets) -> None:
    assert secrets.sanitize("a\0b\x1b[31mc\ud800\n") == "a�b�[31mc�\n"


def test_headers_that_are_secret_by_their_name_are_hidden(secrets: Secrets) -> None:
    told = exchange_row(
        exchange(
            answered={"Set-Cookie": "id=unheard-of", "X-Id": "7"}, auth=("jane@example.com", "unheard-of")
        ),
        secrets,
    )

    assert told["request"]["headers"]["Authorization"] == HIDDEN
    assert told["response"]["headers"] == {"Set-Cookie": HIDDEN, "X-Id": "7"}
    assert "unheard-of" not in json.dumps(told)
    assert f"Basic {HIDDEN}" in told["curl"]


def test_a_body_is_hidden_before_it_is_cut(secrets: Secrets) -> None:
    told = exchange_row(exchange(response=b"x" * 3990 + TOKEN.encode() + b"y" * 100), secrets)

    assert "dE+fG" not in told["response"]["body"]
    assert told["response"]["body"].endswith("bytes)")


def curl(secrets: Secrets, **request: Any) -> list[str]:
    """Its words, as a shell takes them apart."""
    return shlex.split(curl_line(exchange(**request), secrets))


def test_a_line_to_repeat_a_request_has_variables_for_secrets(secrets: Secrets) -> None:
    line = curl_line(exchange(method="DELETE"), secrets)
    with_token = curl_line(exchange(method="DELETE", url="http://host/api/images/7"), secrets)
    asked = Exchange(
        "DELETE", "http://host/api/images/7", {"Authorization": f"Bearer {TOKEN}", "Accept": "*/*"}, b"",
        200, {}, b"", 0.1,
    )  # fmt: skip

    assert line == "curl -i -X DELETE http://host/api/user"
    assert with_token == "curl -i -X DELETE http://host/api/images/7"
    assert (
        curl_line(asked, secrets)
        == 'curl -i -X DELETE -H "Authorization: Bearer $TOKEN" http://host/api/images/7'
    )


def test_a_line_for_another_token_says_so_and_one_for_a_made_up_token_has_it(secrets: Secrets) -> None:
    secrets.learn({"token": "99|abcdefghijkl"})

    def line(token: str) -> str:
        asked = Exchange("GET", "http://host/", {"Authorization": f"Bearer {token}"}, b"", 200, {}, b"", 0)
        return curl_line(asked, secrets)

    assert '"Authorization: Bearer $ANOTHER_TOKEN"' in line("99|abcdefghijkl")
    assert "Bearer no-token-of-anybody" in line("no-token-of-anybody")
    assert "dE+fG" not in line(f"{TOKEN}x")


@pytest.mark.parametrize("sentence", ["A Bearer token is wanted", "Send Bearer tokens.", "No bearer token."])
def test_a_sentence_about_bearer_tokens_is_shown(sentence: str) -> None:
    assert Secrets().sanitize(sentence) == sentence


@pytest.mark.parametrize("text", ["Bearer token-of-mine", "Bearer tokens7", "bearer token.x"])
def test_a_token_that_begins_like_the_word_is_hidden(text: str) -> None:
    assert Secrets().sanitize(text).endswith(" [hidden]")


def test_a_form_with_a_picture_is_repeated_as_a_form(secrets: Secrets) -> None:
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
    told = exchange_row(exchange(**request), secrets, files=True)["request"]
    assert told["body"] == (
        f"scale_factor: 2\nmodel: it's $5\nimage: kit.png (image/png, {len(sent.content):,} bytes)"
    )
    form = exchange(**request).form
    assert form is not None
    assert form[-1].content == sent.content
    assert [file["name"] for file in told["files"]] == ["kit.png"]


def test_a_field_that_curl_would_take_for_a_file_or_that_is_too_long_is_told_otherwise(
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


def test_a_file_with_a_strange_name_is_repeated_under_a_plain_one(secrets: Secrets) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", files=[("image", ("../a b.png", b"\x89PNG", "image/png"))]
    )

    assert 'image=@image;filename="../a b.png";type=image/png' in words


@pytest.mark.parametrize("body", [b"--no\r\nboundary", b"--x\r\nno header\r\n--x--", b"--x\r\n\r\nleft open"])
def test_a_malformed_form_is_repeated_as_the_bytes_it_was(secrets: Secrets, body: bytes) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", data=body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )  # fmt: skip

    assert words[words.index("--data-binary") + 1] == body.decode()
    assert "Content-Type: multipart/form-data; boundary=x" in words


def test_json_is_repeated_as_it_was_but_for_its_secrets(secrets: Secrets) -> None:
    words = curl(
        secrets, method="POST", url="http://host/", json={"email": "a@example.com", "password": PASSWORD}
    )

    assert json.loads(words[words.index("--data-binary") + 1]) == {
        "email": "a@example.com",
        "password": HIDDEN,
    }
    assert "Content-Type: application/json" in words


def test_bytes_that_are_no_text_are_left_to_a_file(secrets: Secrets) -> None:
    assert "@request.bin" in curl(secrets, method="POST", url="http://host/", data=b"\xff\xfe\0")
