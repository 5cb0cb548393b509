"""Does the download link give the file, to whoever has it, unchanged, and under a name that does no harm?"""

from __future__ import annotations

import re
import string
import time
import unicodedata
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from conformance.catalogue import check
from conformance.envelope import is_nosniff
from conformance.images.samples import MEDIA_TYPES, detect_format, make_sample, scene
from conformance.shared_batches import tiny_sample
from conformance.verdicts import CheckFailed, expect, expect_equal

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.kit import Kit
    from conformance.kit.images import CompletedImage

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105  # as RFC 9110 calls a word of a header
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_INJECTED = "X-Uprez-Kit"
# How far into a part of a link a letter is changed.
_PLACES = (0.25, 0.5, 0.75)
_DIGITS, _LOWER = string.digits, string.ascii_lowercase
_REPLACED = "\ufffd"
_BOUNDARY = "uprez-conformance-kit"


@check("URL-001")
def the_download_link_gives_the_file(kit: Kit) -> None:
    image = kit.images.get(_done(kit).image["id"])
    data = kit.owner.get(f"/images/{image['id']}/download").expect(200).data
    for name in ("download_url", "filename"):
        expect(isinstance(data[name], str) and data[name], f"`{name}` is no text.", actual=data[name])
    given = kit.transport.follow(data["download_url"]).expect(200, why="for a download link")
    expect(
        detect_format(given.content),
        "The download link gives no picture.",
        actual=given.content[:40].hex(" "),
    )
    expect(
        isinstance(image["download_url"], str),
        "A completed image has no `download_url`.",
        actual=image["download_url"],
    )
    shown = kit.transport.follow(image["download_url"]).expect(
        200, why="for `download_url` of a completed image"
    )
    expect(
        shown.content == given.content, "The image's `download_url` gives another file than the download's."
    )


@check("URL-002")
def the_file_is_what_it_says_it_is(kit: Kit) -> None:
    for original in (make_sample("png"), make_sample("jpeg")):
        # The link is followed without a token.
        file = kit.images.completed(original, {"scale_factor": 2}).download
        found = detect_format(file.content)
        expect(found, "The download link gives no picture.", actual=file.content[:40].hex(" "))
        expect_equal(file.media_type, MEDIA_TYPES[str(found)], f"The media type of a {found} file")


@check("URL-003")
def a_browser_saves_the_file_and_does_not_guess(kit: Kit) -> None:
    file = _done(kit).download
    said = file.headers.get("x-content-type-options", "")
    expect(is_nosniff(said), "A file lets browsers guess at its type.", expected="nosniff", actual=said)
    _parameters_of(file)


@check("URL-004")
def a_link_with_anything_changed_is_refused(kit: Kit) -> None:
    image_id = _done(kit).image["id"]
    link = kit.owner.get(f"/images/{image_id}/download").expect(200).data["download_url"]
    kit.transport.follow(link).expect(200, why="for a download link")
    another = kit.images.completed(make_sample("jpeg"), {"scale_factor": 2}).image["id"]
    anothers = _of_another_second(kit, another)
    for what, changed in [*_tampered(link), *_recombined(link, anothers)]:
        # All but one letter of a link that works: no more to be shown in a report than the link itself.
        kit.secrets.learn({"download_url": changed})
        status = kit.transport.follow(changed).status
        expect(
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR,
            f"A download link with another {what} is not refused.",
            expected="403",
            actual=status,
        )


@check("URL-005")
def the_file_has_the_name_that_the_user_gave_it(kit: Kit) -> None:
    done = _done(kit)
    data = kit.owner.get(f"/images/{done.image['id']}/download").expect(200).data
    expect_equal(data["filename"], kit.images.filename(done.sample), "`filename` of the download")
    names = _names_in(done.download)
    expect(
        not names or kit.images.filename(done.sample) in names,
        "The file is not saved under the user's name.",
        expected=kit.images.filename(done.sample),
        actual=names,
    )


@check("URL-006")
def no_name_does_harm(kit: Kit) -> None:
    usual = {"filename", "filename*", *_parameters_of(_done(kit).download)}
    for name in (
        f'filename="{kit.tag} \\"; filename=evil.html; x=\\".png"'.encode(),
        f'filename="../../{kit.tag}/..\\{kit.tag} fête ☃.png"'.encode(),
        f"filename*=UTF-8''{kit.tag}%0D%0A{_INJECTED}%3A%20yes%0D%0A%00.png".encode(),
    ):
        response = kit.images.track(_upload_named(kit, name)).permitted()
        if response.status != HTTPStatus.ACCEPTED:  # a server may refuse such a name
            response.expect(400, 422, why="with an odd file name")
            continue
        image, _ = kit.images.wait(response.data["id"])
        given = kit.owner.get(f"/images/{image['id']}/download").expect(200)
        file = kit.transport.follow(given.data["download_url"]).expect(200, why="for a download link")
        for told in (response.data["original_filename"], given.data["filename"], *_names_in(file)):
            _is_clean(told)
        added = set(_parameters_of(file)) - usual
        expect(not added, "A file name adds a parameter to Content-Disposition.", actual=sorted(added))
        for one in (response, given, file):
            expect(_INJECTED not in one.headers, "A file name adds a header to the answer.", actual=_INJECTED)


@check("URL-007")
def the_extension_is_put_right(kit: Kit) -> None:
    disguised = make_sample("bmp", scene(12, 9)).renamed("photo.png")
    done = kit.images.completed(disguised)
    data = kit.owner.get(f"/images/{done.image['id']}/download").expect(200).data
    wanted = kit.images.filename(disguised).removesuffix(".png") + ".bmp"
    expect_equal(data["filename"], wanted, "`filename` of a BMP that was sent as photo.png")


@check("URL-008")
def what_is_not_completed_has_no_link(kit: Kit) -> None:
    # A server may be quicker than the second request: then the answer is a link, and the next one is tried.
    for factor in (4, 3, 4):
        image_id = kit.images.upload(make_sample("png"), {"scale_factor": factor})["id"]
        response = kit.owner.get(f"/images/{image_id}/download").expect(200, 400, why="of an image just sent")
        status = kit.images.get(image_id)["status"]
        expect(
            response.status != HTTPStatus.OK or status == "completed",
            f"There is a link to the result of an image that is {status}.",
            expected=400,
            actual=response.status,
        )
        kit.images.delete(image_id)
        if response.status == HTTPStatus.BAD_REQUEST:
            return


@check("URL-009")
def a_name_is_kept_beyond_ascii(kit: Kit) -> None:
    name, response = _beyond_ascii(kit)
    if response.expect(202, 400, 422, why="with a name beyond ASCII").status != HTTPStatus.ACCEPTED:
        return  # what becomes of the upload is asked by itself
    image, _ = kit.images.wait(response.data["id"])
    expect_equal(image["status"], "completed", "The status of a good picture at its end")
    given = kit.owner.get(f"/images/{image['id']}/download").expect(200)
    file = kit.transport.follow(given.data["download_url"]).expect(200, why="for a download link")
    _is_of(image["original_filename"], name, "`original_filename`")
    _is_of(given.data["filename"], name, "`filename` of the download")
    written = _parameters_of(file).get("filename*")
    if written is not None:  # the plain one has no letters beyond ASCII
        _is_of(_decoded("filename*", written), name, "`filename*` of Content-Disposition")


@check("URL-010")
def a_name_decides_nothing(kit: Kit) -> None:
    _, response = _beyond_ascii(kit)
    response.expect(202, why="with a name beyond ASCII")


def _beyond_ascii(kit: Kit) -> tuple[str, Response]:
    """A name, and the answer to an upload under it; one for the whole run."""
    name = f"{kit.tag} köpfe.v2 画像 😀.png"
    written = f'filename="{name}"'.encode()
    return kit.once(
        "name beyond ASCII", lambda: (name, kit.images.track(_upload_named(kit, written)).permitted())
    )


def _done(kit: Kit) -> CompletedImage:
    return kit.images.completed_png()


def _names_in(file: Response) -> list[str]:
    """The names that its Content-Disposition gives it: none, where whoever serves it does not know any."""
    found = _parameters_of(file)
    return [_decoded(name, found[name]) for name in ("filename", "filename*") if name in found]


def _parameters_of(file: Response) -> dict[str, str]:
    """What stands behind `attachment`, as written. Raises Broken for a header that RFC 6266 has no reading of."""
    header = file.headers.get("content-disposition", "")
    expect(
        header,
        "A downloaded file has no Content-Disposition.",
        expected="attachment; filename=…",
        actual="none",
    )
    kind, rest = header[: len("attachment")], header[len("attachment") :].strip(" \t")
    expect_equal(kind.lower(), "attachment", "The kind of Content-Disposition")
    expect(
        all(" " <= character <= "~" for character in header),
        "Content-Disposition has characters that a header cannot have.",
        expected="printable ASCII",
        actual=header,
    )
    found: dict[str, str] = {}
    while rest.strip("; \t"):
        match = _PARAMETER.match(rest)
        if match is None or match[1].lower() in found:
            raise CheckFailed("Content-Disposition is not written as RFC 6266 says.", actual=header)
        found[match[1].lower()] = match[2]
        rest = rest[match.end() :]
    return found


def _decoded(name: str, value: str) -> str:
    if name == "filename*":
        charset, _, text = value.partition("'")
        try:
            return unquote(text.rpartition("'")[2], charset or "utf-8")
        except LookupError:
            raise CheckFailed("`filename*` is in a charset that nobody knows.", actual=value) from None
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _is_clean(name: object) -> None:
    expect(isinstance(name, str) and name, "A file name is no text.", actual=name)
    bad = [character for character in str(name) if character in "/\\\x7f" or character < " "]
    expect(not bad, "A file name has folders or control characters in it.", actual=name)


def _is_of(shown: object, sent: str, what: str) -> None:
    """Raises Broken for a name that is not what was sent: cut, or with letters that never stood in it.

    A server may clean more than it has to: spaces and letters beyond ASCII may be replaced or left out.
    """
    words = [re.escape(word) for word in re.findall("[!-~]+", sent.replace(".", " "))]
    text = unicodedata.normalize("NFC", str(shown))
    beyond = [letter for letter in sent if not letter.isascii()]
    foreign = {letter for letter in text if not letter.isascii()} - {*beyond, _REPLACED}
    expect(
        isinstance(shown, str)
        and re.search(".*".join(words), text)
        and not foreign
        and text.count(_REPLACED) <= len(beyond),
        f"{what} is not the name that the user's file had.",
        expected=sent,
        actual=shown,
    )


def _tampered(link: str) -> list[tuple[str, str]]:
    """What was changed, and the link that came of it: one change each, none that decodes to the same."""
    parts = urlsplit(link)
    folder, slash, last = parts.path.rpartition("/")
    found = [
        ("last part of its path", parts._replace(path=f"{folder}{slash}{_with_another_letter(last, place)}"))
        for place in _PLACES
    ]
    for name, _ in parse_qsl(parts.query):
        found += [
            (f"`{name}` in its query", parts._replace(query=_with_another_value(parts.query, name, place)))
            for place in _PLACES
        ]
    if parts.query:
        found.append(("query, namely none,", parts._replace(query="")))
    changed = {urlunsplit(made): what for what, made in found}
    return [(what, made) for made, what in changed.items() if made != link]


def _of_another_second(kit: Kit, image_id: int) -> str:
    """A link that expires at another moment than those before: two of one second may be alike but for the path."""
    asked = f"/images/{image_id}/download"
    time.sleep(1.1)
    link: str = kit.owner.get(asked).expect(200).data["download_url"]
    return link


def _recombined(link: str, another: str) -> list[tuple[str, str]]:
    """The query of the one behind the path of the other, where that is neither of the two."""
    made = urlunsplit(urlsplit(another)._replace(query=urlsplit(link).query))
    return [] if made in {link, another} else [("image's path", made)]


def _with_another_value(query: str, name: str, part: float) -> str:
    """The query as it stands, with one letter changed in the value of ``name``."""
    pairs = [pair.partition("=") for pair in query.split("&")]
    return "&".join(
        f"{key}{equals}{_with_another_letter(value, part) if unquote(key) == name else value}"
        for key, equals, value in pairs
    )


def _with_another_letter(text: str, part: float) -> str:
    """One letter or digit changed, about as far into the text; the text itself if it has none.

    To another letter, not only to the other case, which hexadecimal digits mean the same in; and not in the last
    place, where Base64 has bits that mean nothing.
    """
    escaped = {place for match in re.finditer("%..", text) for place in range(*match.span())}
    end = len(text) - 4 if len(text) > 8 else len(text)  # noqa: PLR2004
    places = [
        place
        for place, character in enumerate(text[:end])
        if place not in escaped and character.isascii() and character.isalnum()
    ]
    if not places:
        return text
    place = places[int(len(places) * part)]
    character = text[place]
    # A digit becomes the next one: in a time of expiry, that is mostly a later one.
    alphabet = next(digits for digits in (_DIGITS, _LOWER, _LOWER.upper()) if character in digits)
    another = alphabet[(alphabet.index(character) + 1) % len(alphabet)]
    return text[:place] + another + text[place + 1 :]


def _upload_named(kit: Kit, parameter: bytes) -> Response:
    """Written by hand: libraries quote the names that are asked about."""
    body = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; '.encode()
        + parameter
        + b"\r\nContent-Type: image/png\r\n\r\n"
        + tiny_sample().content
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )
    content_type = f"multipart/form-data; boundary={_BOUNDARY}"
    return kit.owner.post("/images/upscale", data=body, headers={"Content-Type": content_type})
