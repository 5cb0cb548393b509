"""Headers, and file names."""

from __future__ import annotations

import json
from typing import Any

from independent.server import Refused, Server
from mutants import mutant

_ERROR = 400
_LONGEST_NAME = 255  # bytes, of file systems


@mutant("errors-have-no-request-id", kills=["HDR-001"])
class NoRequestId(Server):
    def after(self, request: Any, response: Any) -> None:
        if response.status >= _ERROR:
            del response.headers["X-Request-Id"]


@mutant("all-request-ids-are-alike", kills=["HDR-002"])
class OneRequestId(Server):
    def request_id(self) -> str:
        return "request"


@mutant("errors-may-be-sniffed", kills=["HDR-003"])
class Sniffed(Server):
    def after(self, request: Any, response: Any) -> None:
        if response.status >= _ERROR:
            del response.headers["X-Content-Type-Options"]


@mutant("errors-have-a-type-of-their-own", kills=["HDR-004"])
class ProblemType(Server):
    def after(self, request: Any, response: Any) -> None:
        if response.status >= _ERROR:
            response.headers["Content-Type"] = "application/problem+json"


@mutant("allow-lists-get-only", kills=["HDR-005"])
class AllowGet(Server):
    def allowed(self, methods: str) -> str:
        return "GET"


@mutant("caches-may-keep-the-account", kills=["HDR-006"])
class CachedAccount(Server):
    def after(self, request: Any, response: Any) -> None:
        if request.path.endswith("/user"):
            response.headers["Cache-Control"] = "private, max-age=60"


@mutant("an-upload-repeats-its-name-in-a-header", kills=["HDR-007"])
class NameInHeader(Server):
    def after(self, request: Any, response: Any) -> None:
        if response.status == 202 and request.path.endswith("/upscale"):
            name = json.loads(response.body)["data"]["original_filename"]
            response.headers["X-Filename"] = name.encode("ascii", "replace").decode()


@mutant("file-names-are-not-cleaned", kills=["HDR-008"])
class NameAsSent(Server):
    def clean(self, filename: str) -> str:
        return filename


@mutant("long-names-are-used-as-paths", kills=["HDR-007"])
class LongNamesAreUsedAsPaths(Server):
    def clean(self, filename: str) -> str:
        if len(filename.encode()) > _LONGEST_NAME:
            raise Refused(500, "Server error")
        return super().clean(filename)
