"""Checks of download links, of the headers of files, and of file names."""

from __future__ import annotations

import re
import string
import time
import unicodedata
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from conformance.catalogue import check
from conformance.envelope import is_nosniff
from conformance.images.samples import MEDIA_TYPES, detect_format, make_sample, scene
from conformance.shared_batches import tiny_sample
from conformance.verdicts import CheckFailed, expect, expect_empty, expect_equal

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.kit import Kit

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105  # RFC 9110, section 5.6.2
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_INJECTED = "X-Uprez-Kit"
# The relative positions in a part of a link at which a character is changed.
_POSITIONS = (0.25, 0.5, 0.75)
_DIGITS, _LOWER = string.digits, string.ascii_lowercase
_REPLACEMENT = "\ufffd"
_BOUNDARY = "uprez-conformance-kit"


@check("URL-001")
def check_download_link(kit: Kit) -> None:
    """Check that both links of a completed image return the same image without a token."""
    image = kit.images.get(kit.images.completed_png().image["id"])
    data = _download(kit, image["id"])
    for name in ("download_url", "filename"):
        expect(isinstance(data[name], str) and data[name], f"`{name}` is not a text.", actual=data[name])
    file = kit.transport.follow(data["download_url"]).expect(200, why="for a download link")
    _expect_format(file)
    url = image["download_url"]
    expect(isinstance(url, str), "A completed image has no `download_url`.", actual=url)
    linked = kit.transport.follow(url).expect(200, why="for `download_url` of a completed image")
    expect(
        linked.content == file.content, "`download_url` of an image returns another file than its download."
    )


@check("URL-002")
def check_media_type(kit: Kit) -> None:
    """Check that the files of a PNG and a JPEG have the media type of their content."""
    for sample in (make_sample("png"), make_sample("jpeg")):
        file = kit.images.completed(sample, {"scale_factor": 2}).download
        found = _expect_format(file)
        expect_equal(file.media_type, MEDIA_TYPES[found], f"The media type of a {found} file")


@check("URL-003")
def check_file_headers(kit: Kit) -> None:
    """Check that a file disables content sniffing and is sent as an attachment."""
    file = kit.images.completed_png().download
    value = file.headers.get("x-content-type-options", "")
    expect(is_nosniff(value), "A file does not disable content sniffing.", expected="nosniff", actual=value)
    _disposition_parameters(file)


@check("URL-004")
def check_changed_links(kit: Kit) -> None:
    """Check that changed links return 4xx.

    They have one changed character, no query or the path of another image. Wait 1.1 s, and add the changed
    links to the secrets that reports hide.
    """
    link = _download(kit, kit.images.completed_png().image["id"])["download_url"]
    kit.transport.follow(link).expect(200, why="for a download link")
    other_id = kit.images.completed(make_sample("jpeg"), {"scale_factor": 2}).image["id"]
    # Links that expire in the same second may differ only in their path.
    time.sleep(1.1)
    other = _download(kit, other_id)["download_url"]
    for part, changed in [*_changed_links(link), *_combined_link(link, other)]:
        # A changed link differs in one character from a working one, so a report must not show it.
        kit.secrets.learn({"download_url": changed})
        status = kit.transport.follow(changed).status
        expect(
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR,
            f"A download link with another {part} does not return a client error.",
            expected="403",
            actual=status,
        )


@check("URL-005")
def check_file_name(kit: Kit) -> None:
    """Check that ``filename`` of the download is the uploaded file's, and one of the names in Content-Disposition, if any.

    A missing or invalid Content-Disposition fails.
    """
    done = kit.images.completed_png()
    name = kit.images.filename(done.sample)
    expect_equal(_download(kit, done.image["id"])["filename"], name, "`filename` of the download")
    names = _disposition_names(done.download)
    expect(
        not names or name in names,
        "The name in Content-Disposition is not that of the uploaded file.",
        expected=name,
        actual=names,
    )


@check("URL-006")
def check_hostile_names(kit: Kit) -> None:
    """Check that a hostile file name is rejected or cleaned, and adds neither a parameter nor a header."""
    usual = {"filename", "filename*", *_disposition_parameters(kit.images.completed_png().download)}
    for parameter in (
        f'filename="{kit.tag} \\"; filename=evil.html; x=\\".png"'.encode(),
        f'filename="../../{kit.tag}/..\\{kit.tag} fête ☃.png"'.encode(),
        f"filename*=UTF-8''{kit.tag}%0D%0A{_INJECTED}%3A%20yes%0D%0A%00.png".encode(),
    ):
        upload = kit.images.track(_upload_with_name(kit, parameter)).permitted()
        if upload.status != HTTPStatus.ACCEPTED:  # a server may reject such a name
            upload.expect(400, 422, why="with an unusual file name")
            continue
        image, _ = kit.images.wait(upload.data["id"])
        download = kit.owner.get(f"/images/{image['id']}/download").expect(200)
        file = kit.transport.follow(download.data["download_url"]).expect(200, why="for a download link")
        names = (upload.data["original_filename"], download.data["filename"], *_disposition_names(file))
        for name in names:
            _expect_clean(name)
        added = set(_disposition_parameters(file)) - usual
        expect_empty(sorted(added), "A file name adds a parameter to Content-Disposition.")
        for response in (upload, download, file):
            expect(_INJECTED not in response.headers, "A file name adds a header.", actual=_INJECTED)


@check("URL-007")
def check_extension(kit: Kit) -> None:
    """Check that ``filename`` of a BMP that was uploaded as photo.png ends in .bmp."""
    sample = make_sample("bmp", scene(12, 9)).renamed("photo.png")
    data = _download(kit, kit.images.completed(sample).image["id"])
    name = kit.images.filename(sample).removesuffix(".png") + ".bmp"
    expect_equal(data["filename"], name, "`filename` of a BMP that was uploaded as photo.png")


@check("URL-008")
def check_early_download(kit: Kit) -> None:
    """Check that a download before the image is completed returns 400.

    Up to three images are tried and deleted again; pass if all three were completed at once.
    """
    # A fast server may have completed the image by then, so several images are tried.
    for factor in (4, 3, 4):
        image_id = kit.images.upload(make_sample("png"), {"scale_factor": factor})["id"]
        response = kit.owner.get(f"/images/{image_id}/download").expect(200, 400, why="of a new image")
        status = kit.images.get(image_id)["status"]
        expect(
            response.status != HTTPStatus.OK or status == "completed",
            f"An image that is {status} has a download link.",
            expected=400,
            actual=response.status,
        )
        kit.images.delete(image_id)
        if response.status == HTTPStatus.BAD_REQUEST:
            return


@check("URL-009")
def check_non_ascii_name(kit: Kit) -> None:
    """Check that a non-ASCII name is kept, except that spaces and letters may be replaced or omitted."""
    name, upload = _upload_non_ascii(kit)
    if upload.expect(202, 400, 422, why="with a non-ASCII name").status != HTTPStatus.ACCEPTED:
        return  # URL-010 checks whether the upload is accepted
    image, _ = kit.images.wait(upload.data["id"])
    expect_equal(image["status"], "completed", "The final status of a valid image")
    data = _download(kit, image["id"])
    file = kit.transport.follow(data["download_url"]).expect(200, why="for a download link")
    _expect_name_of(image["original_filename"], name, "`original_filename`")
    _expect_name_of(data["filename"], name, "`filename` of the download")
    encoded = _disposition_parameters(file).get("filename*")
    if encoded is not None:  # the plain parameter has only ASCII letters
        _expect_name_of(_decode("filename*", encoded), name, "`filename*` of Content-Disposition")


@check("URL-010")
def check_non_ascii_name_is_accepted(kit: Kit) -> None:
    """Check that an image with a non-ASCII name is accepted."""
    _, upload = _upload_non_ascii(kit)
    upload.expect(202, why="with a non-ASCII name")


def _download(kit: Kit, image_id: int) -> dict[str, Any]:
    """Return the data of the download of a completed image."""
    data: dict[str, Any] = kit.owner.get(f"/images/{image_id}/download").expect(200).data
    return data


def _upload_non_ascii(kit: Kit) -> tuple[str, Response]:
    """Return a non-ASCII name and the response to an upload with it, which is sent only once in a run."""
    name = f"{kit.tag} köpfe.v2 画像 😀.png"
    parameter = f'filename="{name}"'.encode()
    return kit.once(
        "non-ASCII name", lambda: (name, kit.images.track(_upload_with_name(kit, parameter)).permitted())
    )


def _upload_with_name(kit: Kit, parameter: bytes) -> Response:
    """Upload a small PNG in a form with this raw parameter, which libraries would escape, and return the
    response.
    """
    body = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; '.encode()
        + parameter
        + b"\r\nContent-Type: image/png\r\n\r\n"
        + tiny_sample().content
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )
    content_type = f"multipart/form-data; boundary={_BOUNDARY}"
    return kit.owner.post("/images/upscale", data=body, headers={"Content-Type": content_type})


def _expect_format(file: Response) -> str:
    """Return the format of the file. Raise CheckFailed if it is not an image."""
    found = detect_format(file.content)
    if not found:
        raise CheckFailed("The download link does not return an image.", actual=file.content[:40].hex(" "))
    return found


def _disposition_names(file: Response) -> list[str]:
    """Return the names in Content-Disposition. A server that stores files without names has none."""
    found = _disposition_parameters(file)
    return [_decode(name, found[name]) for name in ("filename", "filename*") if name in found]


def _disposition_parameters(file: Response) -> dict[str, str]:
    """Return the raw parameters of `attachment`. Raise CheckFailed for a header that violates RFC 6266."""
    header = file.headers.get("content-disposition", "")
    expect(
        header,
        "A downloaded file has no Content-Disposition.",
        expected="attachment; filename=…",
        actual="none",
    )
    kind, rest = header[: len("attachment")], header[len("attachment") :].strip(" \t")
    expect_equal(kind.lower(), "attachment", "The type of Content-Disposition")
    expect(
        all(" " <= character <= "~" for character in header),
        "Content-Disposition has characters that are invalid in a header.",
        expected="printable ASCII",
        actual=header,
    )
    found: dict[str, str] = {}
    while rest.strip("; \t"):
        match = _PARAMETER.match(rest)
        if match is None or match[1].lower() in found:
            raise CheckFailed("Content-Disposition does not match RFC 6266.", actual=header)
        found[match[1].lower()] = match[2]
        rest = rest[match.end() :]
    return found


def _decode(name: str, value: str) -> str:
    """Return the text of a parameter of Content-Disposition. Raise CheckFailed for an unknown charset."""
    if name == "filename*":
        charset, _, text = value.partition("'")
        try:
            return unquote(text.rpartition("'")[2], charset or "utf-8")
        except LookupError:
            raise CheckFailed("`filename*` has an unknown charset.", actual=value) from None
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _expect_clean(name: object) -> None:
    """Raise CheckFailed if the name is no text, is empty or has a slash, backslash or control character."""
    expect(isinstance(name, str) and name, "A file name is not a text.", actual=name)
    invalid = [character for character in str(name) if character in "/\\\x7f" or character < " "]
    expect(not invalid, "A file name has folders or control characters.", actual=name)


def _expect_name_of(returned: object, sent: str, what: str) -> None:
    """Raise CheckFailed for a name that is truncated or has letters that were not sent.

    A server may replace or omit spaces and non-ASCII letters.
    """
    words = [re.escape(word) for word in re.findall("[!-~]+", sent.replace(".", " "))]
    text = unicodedata.normalize("NFC", str(returned))
    non_ascii = [letter for letter in sent if not letter.isascii()]
    foreign = {letter for letter in text if not letter.isascii()} - {*non_ascii, _REPLACEMENT}
    expect(
        isinstance(returned, str)
        and re.search(".*".join(words), text)
        and not foreign
        and text.count(_REPLACEMENT) <= len(non_ascii),
        f"{what} is not the name of the uploaded file.",
        expected=sent,
        actual=returned,
    )


def _changed_links(link: str) -> list[tuple[str, str]]:
    """Return links with one change each and the name of the changed part.

    None of them decodes to the original.
    """
    parts = urlsplit(link)
    folder, slash, last = parts.path.rpartition("/")
    found = [
        ("last path segment", parts._replace(path=f"{folder}{slash}{_change_character(last, position)}"))
        for position in _POSITIONS
    ]
    for name, _ in parse_qsl(parts.query):
        found += [
            (f"`{name}` in its query", parts._replace(query=_change_value(parts.query, name, position)))
            for position in _POSITIONS
        ]
    if parts.query:
        found.append(("query (none)", parts._replace(query="")))
    changed = {urlunsplit(url): part for part, url in found}
    return [(part, url) for url, part in changed.items() if url != link]


def _combined_link(link: str, other: str) -> list[tuple[str, str]]:
    """Return the query of the first link with the path of the other, if it differs from both."""
    url = urlunsplit(urlsplit(other)._replace(query=urlsplit(link).query))
    return [] if url in {link, other} else [("image's path", url)]


def _change_value(query: str, name: str, position: float) -> str:
    """Return the query with one character changed in the value of the parameter."""
    pairs = [pair.partition("=") for pair in query.split("&")]
    return "&".join(
        f"{key}{equals}{_change_character(value, position) if unquote(key) == name else value}"
        for key, equals, value in pairs
    )


def _change_character(text: str, position: float) -> str:
    """Return the text with one letter or digit changed, or the text itself if it has none.

    The change is not only one of case, which hexadecimal digits ignore. In a text of more than eight
    characters it is not at the end, where Base64 has unused bits. ``position`` is relative to the length of
    the text.
    """
    escaped = {index for match in re.finditer("%..", text) for index in range(*match.span())}
    end = len(text) - 4 if len(text) > 8 else len(text)  # noqa: PLR2004
    indexes = [
        index
        for index, character in enumerate(text[:end])
        if index not in escaped and character.isascii() and character.isalnum()
    ]
    if not indexes:
        return text
    index = indexes[int(len(indexes) * position)]
    character = text[index]
    # A digit becomes the next one, which makes an expiry time later in most cases.
    alphabet = next(digits for digits in (_DIGITS, _LOWER, _LOWER.upper()) if character in digits)
    changed = alphabet[(alphabet.index(character) + 1) % len(alphabet)]
    return text[:index] + changed + text[index + 1 :]
