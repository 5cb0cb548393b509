"""The envelope."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bottle

from independent.server import Refused, Route, Server, Success
from mutants import mutant

if TYPE_CHECKING:
    from independent.forms import Part
    from independent.records import Account, StoredBatch, StoredImage, Token
    from independent.server import Caller, Errors


@mutant("an-upload-does-not-say-how-it-came", kills=["ENV-001"])
class UploadWithoutOrigin(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        uploaded = super().upload_image(request, caller, parts)
        uploaded.data = _without(uploaded.data, "api_request")
        return uploaded


@mutant("an-image-does-not-say-how-it-came", kills=["ENV-002"])
class ImageWithoutOrigin(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        shown = super().show_image(request, caller, number)
        shown.data = _without(shown.data, "api_request")
        return shown


@mutant("a-list-leaves-out-fields", kills=["ENV-003"])
class ListWithoutFields(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        listed = super().list_images(request, caller)
        listed.data = [_without(image, "api_request") for image in listed.data]
        return listed


@mutant("a-download-link-is-no-complete-address", kills=["ENV-004"])
class RelativeLink(Server):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        shown = super().show_download(request, caller, number)
        shown.data["download_url"] = "/api" + shown.data["download_url"].removeprefix(self.base_url)
        return shown


@mutant("an-account-has-no-plan", kills=["ENV-005"])
class AccountWithoutPlan(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        shown = super().show_user(request, caller)
        shown.data = _without(shown.data, "pricing_plan")
        return shown


@mutant("the-count-of-tokens-is-one-too-many", kills=["ENV-006"])
class TokenTooMany(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        listed = super().list_tokens(request, caller)
        listed.data["count"] += 1
        return listed


@mutant("a-token-does-not-say-what-it-may-do", kills=["ENV-006"])
class TokenWithoutAbilities(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        return _without(super().token_data(token), "abilities")


@mutant("usage-does-not-tell-the-features", kills=["ENV-007"])
class UsageWithoutFeatures(Server):
    def show_usage(self, request: Any, caller: Caller) -> Success:
        shown = super().show_usage(request, caller)
        shown.data = _without(shown.data, "features")
        return shown


@mutant("a-subscription-without-a-plan", kills=["ENV-008"])
class SubscriptionWithoutPlan(Server):
    def show_subscription(self, request: Any, caller: Caller) -> Success:
        shown = super().show_subscription(request, caller)
        shown.data = shown.data["subscription"]
        return shown


@mutant("a-batch-has-its-factor-as-text", kills=["ENV-009"])
class FactorAsText(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"scale_factor": str(batch.sizing.scale_factor)}


@mutant("a-deletion-returns-what-was-deleted", kills=["ENV-010"])
class DeletionWithData(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        deleted = super().delete_image(request, caller, number)
        deleted.data = {"id": number}
        return deleted


@mutant("an-error-is-called-a-success", kills=["ENV-011"])
class SuccessfulError(Server):
    def after(self, request: Any, response: Any) -> None:
        if response.status in {404, 415}:
            response.body = response.body.replace(b'"success": false', b'"success": true')


@mutant("errors-are-sentences-without-lists", kills=["ENV-012"])
class ErrorsWithoutLists(Server):
    def invalid(self, errors: Errors) -> Refused:
        return super().invalid({name: sentences[0] for name, sentences in errors.items()})  # type: ignore[misc]


@mutant("a-404-has-errors", kills=["ENV-012"])
class ErrorsIn404(Server):
    def not_found(self) -> Refused:
        return Refused(404, "Not found.", {"id": ["There is none."]})


@mutant("an-envelope-has-its-code-in-it", kills=["ENV-013"])
class CodeInEnvelope(Server):
    def envelope(self, *, success: bool, message: str) -> dict[str, Any]:
        return super().envelope(success=success, message=message) | {"code": 0 if success else 1}


@mutant("an-unknown-route-is-a-page", kills=["ENV-014", "HDR-004"])
class Page(Server):
    def bottles_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        body = super().bottles_error(error)
        if error.status_code != 404:
            return body
        bottle.response.set_header("Content-Type", "text/html; charset=utf-8")
        return b"<!doctype html><title>404</title><h1>Not Found</h1>"


@mutant("an-unknown-route-is-a-bad-request", kills=["ENV-014"])
class BadRoute(Server):
    def bottles_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        if error.status_code == 404:
            error.status = 400
        return super().bottles_error(error)


@mutant("a-wrong-method-is-an-unknown-route", kills=["ENV-015", "HDR-005"])
class UnknownMethod(Server):
    def bottles_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        if error.status_code == 405:
            error.status = 404
        return super().bottles_error(error)


@mutant("any-content-type-is-taken", kills=["ENV-016"])
class AnyType(Server):
    def is_of_type(self, content_type: str, wanted: str) -> bool:
        return True


@mutant("malformed-json-is-an-empty-object", kills=["ENV-017"])
class EmptyObject(Server):
    def parse_json(self, body: bytes) -> Any:
        try:
            return super().parse_json(body)
        except Refused:
            return {}


@mutant("json-is-read-leniently", kills=["ENV-018"])
class LenientJson(Server):
    def parse_json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self.malformed() from None


@mutant("malformed-multipart-is-an-empty-form", kills=["ENV-019"])
class EmptyForm(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        try:
            return super().parse_form(content_type, body)
        except Refused:
            return []


@mutant("only-the-first-wrong-parameter-is-named", kills=["ENV-020"])
class FirstError(Server):
    def paging(self, query: Any, statuses: tuple[str, ...]) -> tuple[int, int, str | None]:
        try:
            return super().paging(query, statuses)
        except Refused as refused:
            raise self.invalid(dict(list((refused.errors or {}).items())[:1])) from None


@mutant("unknown-fields-are-ignored", kills=["ENV-021"])
class UnknownFieldsIgnored(Server):
    def unknown_fields(self, given: Any, known: set[str]) -> Errors:
        return {}


@mutant("the-first-of-two-pictures-is-taken", kills=["ENV-022"])
class FirstPicture(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        first = next((part for part in parts if part.name == "image"), None)
        kept = [part for part in parts if part.name != "image" or part is first]
        return super().upload_image(request, caller, kept)


@mutant("an-account-with-a-parameter-is-refused", kills=["ENV-023"])
class StrictQuery(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        if request.query_string:
            raise self.invalid({"colour": ["There is no such parameter."]})
        return super().show_user(request, caller)


@mutant("a-batch-ignores-unknown-fields", kills=["ENV-024"])
class BatchWithAnything(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        known = {"images[]", "name", "scale_factor", "target_width", "target_height"}
        return super().upload_batch(request, caller, [part for part in parts if part.name in known])


@mutant("an-id-may-have-leading-zeros", kills=["ENV-025"])
class LeadingZeros(Server):
    def routes(self) -> list[Route]:
        return [
            replace(route, path=route.path.replace("[1-9][0-9]*", "[0-9]+")) for route in super().routes()
        ]


@mutant("a-large-id-crashes-it", kills=["ENV-025"])
class LargeId(Server):
    def owned(self, things: dict[int, Any], number: int, account: Account) -> Any:
        if number >= 2**63:
            raise Refused(500, "Server error")
        return super().owned(things, number, account)


@mutant("an-error-tells-its-stack", kills=["ENV-026"])
class Stack(Server):
    def malformed(self) -> Refused:
        return Refused(400, 'Traceback (most recent call last):\n  File "app.py", line 12, in parse')


@mutant("an-error-tells-a-path", kills=["ENV-026"])
class ServerPath(Server):
    def not_found(self) -> Refused:
        return Refused(404, "No such row in /var/lib/small/images.db")


@mutant("a-header-tells-the-version", kills=["ENV-027"])
class Version(Server):
    def common_headers(self) -> dict[str, str]:
        return super().common_headers() | {"Server": "small/1.2.3"}


@mutant("what-is-too-large-crashes-it", kills=["ENV-028"])
class TooLarge(Server):
    def too_large(self) -> Refused:
        return Refused(500, "Server error")


@mutant("a-nul-in-a-filter-crashes-it", kills=["ENV-029"])
class NulInFilter(Server):
    def paging(self, query: Any, statuses: tuple[str, ...]) -> tuple[int, int, str | None]:
        if any("\0" in value for _, value in query):
            raise Refused(500, "Server error")
        return super().paging(query, statuses)


@mutant("media-types-have-a-case", kills=["ENV-030"])
class MediaTypesHaveACase(Server):
    def is_of_type(self, content_type: str, wanted: str) -> bool:
        return content_type.partition(";")[0].strip() == wanted


@mutant("json-has-no-parameters", kills=["ENV-030"])
class JsonHasNoParameters(Server):
    def is_of_type(self, content_type: str, wanted: str) -> bool:
        return (
            content_type.lower() == wanted if "json" in wanted else super().is_of_type(content_type, wanted)
        )


@mutant("boundaries-have-no-quotes", kills=["ENV-030"])
class BoundariesHaveNoQuotes(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        if '"' in content_type:
            raise self.malformed()
        return super().parse_form(content_type, body)


@mutant("a-body-without-a-length-is-empty", kills=["ENV-031"])
class BodyWithoutLengthIsEmpty(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        return [] if bottle.request.chunked else super().parse_form(content_type, body)


@mutant("a-body-without-a-length-is-refused", kills=["ENV-031"])
class BodyWithoutLengthIsRefused(Server):
    def body(self, request: Any, cap: int, wanted_type: str) -> bytes:
        if request.content_length < 0:
            raise self.malformed()
        return super().body(request, cap, wanted_type)


@mutant("an-image-tells-where-its-file-lies", kills=["ENV-032"])
class ImageTellsWhereItsFileLies(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        told = super().image_data(image)
        return told | {"original_path": f"/var/lib/small/{told['original_path']}"}


@mutant("originals-are-stored-under-the-users-name", kills=["ENV-033"])
class StoredUnderTheUsersName(Server):
    def stored_name(self, image: StoredImage) -> str:
        return f"{image.stored_name}-{image.filename}"


@mutant("originals-are-stored-under-their-ids", kills=["ENV-033"])
class StoredUnderTheirIds(Server):
    def stored_name(self, image: StoredImage) -> str:
        return str(image.id)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {known: value for known, value in data.items() if known != name}
