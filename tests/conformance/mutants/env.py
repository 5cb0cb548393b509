"""Mutants of the ENV requirements: the envelope, and the parsing of requests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bottle

from independent.envelope import ApiError
from independent.records import Route, Success
from independent.server import Server
from mutants import mutant

if TYPE_CHECKING:
    from independent.envelope import Errors
    from independent.forms import Part
    from independent.records import Account, Caller, StoredBatch, StoredImage, Token


@mutant("upload-without-api-request", kills=["ENV-001"])
class UploadWithoutApiRequest(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        uploaded = super().upload_image(request, caller, parts)
        uploaded.data = _without(uploaded.data, "api_request")
        return uploaded


@mutant("image-without-api-request", kills=["ENV-002"])
class ImageWithoutApiRequest(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        shown = super().show_image(request, caller, number)
        shown.data = _without(shown.data, "api_request")
        return shown


@mutant("image-list-without-api-request", kills=["ENV-003"])
class ImageListWithoutApiRequest(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        listed = super().list_images(request, caller)
        listed.data = [_without(image, "api_request") for image in listed.data]
        return listed


@mutant("relative-download-url", kills=["ENV-004"])
class RelativeDownloadUrl(Server):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        shown = super().show_download(request, caller, number)
        shown.data["download_url"] = "/api" + shown.data["download_url"].removeprefix(self.base_url)
        return shown


@mutant("user-without-plan", kills=["ENV-005"])
class UserWithoutPlan(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        shown = super().show_user(request, caller)
        shown.data = _without(shown.data, "pricing_plan")
        return shown


@mutant("token-count-off-by-one", kills=["ENV-006"])
class TokenCountOffByOne(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        listed = super().list_tokens(request, caller)
        listed.data["count"] += 1
        return listed


@mutant("token-without-abilities", kills=["ENV-006"])
class TokenWithoutAbilities(Server):
    def token_data(self, token: Token) -> dict[str, Any]:
        return _without(super().token_data(token), "abilities")


@mutant("usage-without-features", kills=["ENV-007"])
class UsageWithoutFeatures(Server):
    def show_usage(self, request: Any, caller: Caller) -> Success:
        shown = super().show_usage(request, caller)
        shown.data = _without(shown.data, "features")
        return shown


@mutant("subscription-without-plan", kills=["ENV-008"])
class SubscriptionWithoutPlan(Server):
    def show_subscription(self, request: Any, caller: Caller) -> Success:
        shown = super().show_subscription(request, caller)
        shown.data = shown.data["subscription"]
        return shown


@mutant("batch-scale-factor-as-string", kills=["ENV-009"])
class BatchScaleFactorAsString(Server):
    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return super().batch_data(batch) | {"scale_factor": str(batch.sizing.scale_factor)}


@mutant("deletion-returns-data", kills=["ENV-010"])
class DeletionReturnsData(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        deleted = super().delete_image(request, caller, number)
        deleted.data = {"id": number}
        return deleted


@mutant("error-with-success-true", kills=["ENV-011"])
class ErrorWithSuccessTrue(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if response.status in {404, 415}:
            response.body = response.body.replace(b'"success": false', b'"success": true')


@mutant("errors-as-strings", kills=["ENV-012"])
class ErrorsAsStrings(Server):
    def invalid(self, errors: Errors) -> ApiError:
        return super().invalid({name: messages[0] for name, messages in errors.items()})  # type: ignore[misc]


@mutant("not-found-with-errors-field", kills=["ENV-012"])
class NotFoundWithErrorsField(Server):
    def not_found(self) -> ApiError:
        return ApiError(404, "Not found.", {"id": ["There is none."]})


@mutant("extra-code-in-envelope", kills=["ENV-013"])
class ExtraCodeInEnvelope(Server):
    def envelope(self, *, success: bool, message: str) -> dict[str, Any]:
        return super().envelope(success=success, message=message) | {"code": 0 if success else 1}


@mutant("unknown-route-returns-html", kills=["ENV-014", "HDR-004"])
class UnknownRouteReturnsHtml(Server):
    def handle_bottle_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        body = super().handle_bottle_error(error)
        if error.status_code != 404:
            return body
        bottle.response.set_header("Content-Type", "text/html; charset=utf-8")
        return b"<!doctype html><title>404</title><h1>Not Found</h1>"


@mutant("unknown-route-returns-400", kills=["ENV-014"])
class UnknownRouteReturns400(Server):
    def handle_bottle_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        if error.status_code == 404:
            error.status = 400
        return super().handle_bottle_error(error)


@mutant("wrong-method-returns-404", kills=["ENV-015", "HDR-005"])
class WrongMethodReturns404(Server):
    def handle_bottle_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        if error.status_code == 405:
            error.status = 404
        return super().handle_bottle_error(error)


@mutant("accepts-any-content-type", kills=["ENV-016"])
class AcceptsAnyContentType(Server):
    def has_media_type(self, content_type: str, wanted: str) -> bool:
        return True


@mutant("malformed-json-as-empty-object", kills=["ENV-017"])
class MalformedJsonAsEmptyObject(Server):
    def parse_json(self, body: bytes) -> Any:
        try:
            return super().parse_json(body)
        except ApiError:
            return {}


@mutant("lenient-json-parser", kills=["ENV-018"])
class LenientJsonParser(Server):
    def parse_json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self.malformed() from None


@mutant("malformed-multipart-as-empty-form", kills=["ENV-019"])
class MalformedMultipartAsEmptyForm(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        try:
            return super().parse_form(content_type, body)
        except ApiError:
            return []


@mutant("reports-first-query-error-only", kills=["ENV-020"])
class ReportsFirstQueryErrorOnly(Server):
    def parse_paging(self, query: Any, statuses: tuple[str, ...]) -> tuple[int, int, str | None]:
        try:
            return super().parse_paging(query, statuses)
        except ApiError as error:
            raise self.invalid(dict(list((error.errors or {}).items())[:1])) from None


@mutant("ignores-unknown-fields", kills=["ENV-021"])
class IgnoresUnknownFields(Server):
    def unknown_field_errors(self, names: Any, known: set[str]) -> Errors:
        return {}


@mutant("accepts-repeated-image-field", kills=["ENV-022"])
class AcceptsRepeatedImageField(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        first = next((part for part in parts if part.name == "image"), None)
        kept = [part for part in parts if part.name != "image" or part is first]
        return super().upload_image(request, caller, kept)


@mutant("rejects-unknown-query-on-user", kills=["ENV-023"])
class RejectsUnknownQueryOnUser(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        if request.query_string:
            raise self.invalid({"colour": ["There is no such parameter."]})
        return super().show_user(request, caller)


@mutant("batch-ignores-unknown-fields", kills=["ENV-024"])
class BatchIgnoresUnknownFields(Server):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        known = {"images[]", "name", "scale_factor", "target_width", "target_height"}
        return super().upload_batch(request, caller, [part for part in parts if part.name in known])


@mutant("accepts-id-with-leading-zeros", kills=["ENV-025"])
class AcceptsIdWithLeadingZeros(Server):
    def routes(self) -> list[Route]:
        return [
            replace(route, path=route.path.replace("[1-9][0-9]*", "[0-9]+")) for route in super().routes()
        ]


@mutant("large-id-returns-500", kills=["ENV-025"])
class LargeIdReturns500(Server):
    def find_owned(self, records: dict[int, Any], number: int, account: Account) -> Any:
        if number >= 2**63:
            raise ApiError(500, "Server error")
        return super().find_owned(records, number, account)


@mutant("error-exposes-stack-trace", kills=["ENV-026"])
class ErrorExposesStackTrace(Server):
    def malformed(self) -> ApiError:
        return ApiError(400, 'Traceback (most recent call last):\n  File "app.py", line 12, in parse')


@mutant("error-exposes-server-path", kills=["ENV-026"])
class ErrorExposesServerPath(Server):
    def not_found(self) -> ApiError:
        return ApiError(404, "No such row in /var/lib/small/images.db")


@mutant("header-exposes-version", kills=["ENV-027"])
class HeaderExposesVersion(Server):
    def common_headers(self) -> dict[str, str]:
        return super().common_headers() | {"Server": "small/1.2.3"}


@mutant("too-large-body-returns-500", kills=["ENV-028"])
class TooLargeBodyReturns500(Server):
    def too_large(self) -> ApiError:
        return ApiError(500, "Server error")


@mutant("nul-in-status-returns-500", kills=["ENV-029"])
class NulInStatusReturns500(Server):
    def parse_paging(self, query: Any, statuses: tuple[str, ...]) -> tuple[int, int, str | None]:
        if any("\0" in value for _, value in query):
            raise ApiError(500, "Server error")
        return super().parse_paging(query, statuses)


@mutant("media-type-case-sensitive", kills=["ENV-030"])
class MediaTypeCaseSensitive(Server):
    def has_media_type(self, content_type: str, wanted: str) -> bool:
        return content_type.partition(";")[0].strip() == wanted


@mutant("rejects-json-charset-parameter", kills=["ENV-030"])
class RejectsJsonCharsetParameter(Server):
    def has_media_type(self, content_type: str, wanted: str) -> bool:
        return (
            content_type.lower() == wanted
            if "json" in wanted
            else super().has_media_type(content_type, wanted)
        )


@mutant("rejects-quoted-boundary", kills=["ENV-030"])
class RejectsQuotedBoundary(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        if '"' in content_type:
            raise self.malformed()
        return super().parse_form(content_type, body)


@mutant("reads-chunked-body-as-empty", kills=["ENV-031"])
class ReadsChunkedBodyAsEmpty(Server):
    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        return [] if bottle.request.chunked else super().parse_form(content_type, body)


@mutant("rejects-chunked-body", kills=["ENV-031"])
class RejectsChunkedBody(Server):
    def body(self, request: Any, cap: int, wanted_type: str) -> bytes:
        if request.content_length < 0:
            raise self.malformed()
        return super().body(request, cap, wanted_type)


@mutant("image-exposes-absolute-path", kills=["ENV-032"])
class ImageExposesAbsolutePath(Server):
    def image_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().image_data(image)
        return data | {"original_path": f"/var/lib/small/{data['original_path']}"}


@mutant("original-path-contains-filename", kills=["ENV-033"])
class OriginalPathContainsFilename(Server):
    def stored_name(self, image: StoredImage) -> str:
        return f"{image.stored_name}-{image.filename}"


@mutant("original-path-is-image-id", kills=["ENV-033"])
class OriginalPathIsImageId(Server):
    def stored_name(self, image: StoredImage) -> str:
        return str(image.id)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {known: value for known, value in data.items() if known != name}
