"""Mutants of the HDR requirements: headers and filenames."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from independent.envelope import ApiError
from independent.server import Server
from mutants import mutant

_MAX_NAME_BYTES = 255  # the limit of most file systems


@mutant("errors-without-request-id", kills=["HDR-001"])
class ErrorsWithoutRequestId(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST:
            del response.headers["X-Request-Id"]


@mutant("constant-request-id", kills=["HDR-002"])
class ConstantRequestId(Server):
    def request_id(self) -> str:
        return "request"


@mutant("errors-without-nosniff", kills=["HDR-003"])
class ErrorsWithoutNosniff(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST:
            del response.headers["X-Content-Type-Options"]


@mutant("errors-as-problem-json", kills=["HDR-004"])
class ErrorsAsProblemJson(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST:
            response.headers["Content-Type"] = "application/problem+json"


@mutant("allow-header-lists-get-only", kills=["HDR-005"])
class AllowHeaderListsGetOnly(Server):
    def allow_header(self, methods: str) -> str:
        return "GET"


@mutant("user-response-cacheable", kills=["HDR-006"])
class UserResponseCacheable(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if request.path.endswith("/user"):
            response.headers["Cache-Control"] = "private, max-age=60"


@mutant("filename-echoed-in-header", kills=["HDR-007"])
class FilenameEchoedInHeader(Server):
    def adjust_response(self, request: Any, response: Any) -> None:
        if response.status == 202 and request.path.endswith("/upscale"):
            name = json.loads(response.body)["data"]["original_filename"]
            response.headers["X-Filename"] = name.encode("ascii", "replace").decode()


@mutant("filename-not-sanitized", kills=["HDR-008"])
class FilenameNotSanitized(Server):
    def sanitize_filename(self, filename: str) -> str:
        return filename


@mutant("long-filename-returns-500", kills=["HDR-007"])
class LongFilenameReturns500(Server):
    def sanitize_filename(self, filename: str) -> str:
        if len(filename.encode()) > _MAX_NAME_BYTES:
            raise ApiError(500, "Server error")
        return super().sanitize_filename(filename)
