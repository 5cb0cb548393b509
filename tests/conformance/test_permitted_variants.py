"""A server passes with every behaviour that the contract permits."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

import pytest
from run_kit import check_server, failures

from conformance.catalogue import requirements
from conformance.runner import Exit
from conformance.verdicts import Verdict
from independent.forms import Part
from independent.records import Account, Response, Sizing, StoredBatch, StoredImage, Token
from independent.server import ApiError, Caller, Route, Server
from mutants.auth import AutoVerifiesEmail

# The requirements on lists, batches, the quota and links; test_servers.py has the others.
ASKED = tuple(one.id for one in requirements() if one.family in {"PAGE", "BATCH", "LIM", "DEL", "URL"})


class Unlimited(Server):
    def usage_data(self, account: Account) -> dict[str, Any]:
        nothing = {"limit": None, "remaining": None, "unlimited": True, "exceeded": False, "percentage": 0}
        return super().usage_data(account) | nothing

    def quota_headers(self, account: Account) -> dict[str, str]:
        return {}


class LinksBehindAProxy(Server):
    """The server does not know its public host name."""

    def links(self, path: str, query: list[tuple[str, str]], number: int, last: int) -> dict[str, Any]:
        made = super().links(path, query, number, last)
        return {
            name: link and link.replace(self.base_url, "https://inner.example/v1")
            for name, link in made.items()
        }


class WholeSeconds(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


class OmitsNullFields(Server):
    """Fields without a value are omitted."""

    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return {name: value for name, value in super().batch_data(batch).items() if value is not None}


class KeepsQuotaOfFailedImages(Server):
    def refund_quota(self, image: StoredImage) -> None:
        pass


class UnorderedIds(Server):
    def new_id(self, kind: str) -> int:
        return secrets.randbelow(2**50) + 1


class AsciiNames(Server):
    def sanitize_filename(self, filename: str) -> str:
        cleaned = super().sanitize_filename(filename)
        return "".join(letter if letter.isascii() and letter not in '";' else "_" for letter in cleaned)


class RedirectedFiles(Server):
    """The link redirects to the file."""

    def fetch_result(self, request: Any, number: int) -> Response:
        if request.query_string.endswith("&here"):
            request.environ["QUERY_STRING"] = request.query_string.removesuffix("&here")
            return super().fetch_result(request, number)
        return Response(302, {"Location": f"{request.path}?{request.query_string}&here"}, b"")


class RequiresContentLength(Server):
    """Some proxies require Content-Length."""

    def body(self, request: Any, cap: int, wanted_type: str) -> bytes:
        if request.content_length < 0:
            raise ApiError(411, "How long is it?")
        return super().body(request, cap, wanted_type)


class SharedAccount(Server):
    """Another client sometimes uploads an image to the same account."""

    def count_authenticated_request(self, caller: Caller) -> None:
        super().count_authenticated_request(caller)
        stored = next(iter(self.images.values()), None)
        if stored and self.with_token % 29 == 0:
            with self.lock:
                part = Part("image", "other.png", stored.content)
                self.charge_quota(caller.account, 1)
                self.store_image(caller.account, part, self.decode(stored.content), Sizing(scale_factor=2))


@pytest.mark.parametrize(
    "server",
    [
        Unlimited,
        pytest.param(LinksBehindAProxy, marks=pytest.mark.slow),
        pytest.param(WholeSeconds, marks=pytest.mark.slow),
        pytest.param(OmitsNullFields, marks=pytest.mark.slow),
        pytest.param(KeepsQuotaOfFailedImages, marks=pytest.mark.slow),
        pytest.param(UnorderedIds, marks=pytest.mark.slow),
        pytest.param(AsciiNames, marks=pytest.mark.slow),
        pytest.param(RedirectedFiles, marks=pytest.mark.slow),
        pytest.param(SharedAccount, marks=pytest.mark.slow),
    ],
)
def test_permitted_variant_passes(server: type[Server]) -> None:
    with server() as started:
        found = check_server(started, only=ASKED)

    assert failures(found) == []


class PaddedSeconds(Server):
    """Times have a precision of seconds and are padded with zeros."""

    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.000000Z") if moment else None


class LowerCaseTimes(Server):
    def time_text(self, moment: datetime | None) -> str | None:
        return text.lower() if (text := super().time_text(moment)) else None


class OtherReadableSizes(Server):
    def format_bytes(self, size: int) -> str:
        return f"{size / 1024:.2f} KB"


class FilesInObjectStore(Server):
    """Files have no names and URLs like those of the API."""

    def routes(self) -> list[Route]:
        return [
            *super().routes(),
            Route("GET", "/images/file-<number:re:[1-9][0-9]*>", self.show_usage, "link"),
        ]

    def link(self, image: StoredImage) -> str:
        return super().link(image).replace("/results/", "/images/file-")

    def disposition(self, filename: str) -> str:
        return "attachment"


class DuplicateHeaders(Server):
    """A proxy adds the headers again."""

    def common_headers(self) -> dict[str, str]:
        return super().common_headers() | {"X-Content-Type-Options": "nosniff, nosniff"}


class Sessions(Server):
    """A cookie identifies a client after its first request with a token."""

    last = ""

    def find_request_token(self, request: Any) -> Token | None:
        token = super().find_request_token(request) or self.find_token(request.get_cookie("session") or "")
        self.last = token.secret if token else ""
        return token

    def common_headers(self) -> dict[str, str]:
        return super().common_headers() | {"Set-Cookie": f"session={self.last}; Path=/"}


class AdditionalOperations(Server):
    def routes(self) -> list[Route]:
        return [
            *super().routes(),
            Route("PUT", "/user", self.show_user, "account"),
            Route("PATCH", "/images", self.list_images, "images"),
        ]


class AdditionalTimes(Server):
    """Additional fields whose names end like the timestamps of the contract."""

    def image_data(self, image: StoredImage) -> dict[str, Any]:
        return super().image_data(image) | {"expires_at": 1_800_000_000, "deleted_at": False}


class UnlimitedPlan(Server):
    def plan_data(self, account: Account) -> dict[str, Any]:
        return super().plan_data(account) | {"limits": [{"name": "max_scale", "value": None}]}

    def target_fits(self, side: int, target: int) -> bool:
        return side < target


class SometimesBusy(Server):
    """Requests without a token are affected too."""

    requests_seen = 0

    def authenticate(self, request: Any) -> Caller:
        self.requests_seen += 1
        if self.requests_seen % 7 == 0:
            raise ApiError(503, "Too busy.", Retry_After="0")
        return super().authenticate(request)


@pytest.mark.parametrize(
    ("server", "only"),
    [
        (PaddedSeconds, ("TIME", "JOB", "AUTH", "PAGE", "BATCH")),
        pytest.param(LowerCaseTimes, ("TIME", "JOB", "AUTH", "PAGE", "BATCH"), marks=pytest.mark.slow),
        pytest.param(OtherReadableSizes, ("ENV", "JOB"), marks=pytest.mark.slow),
        (FilesInObjectStore, ("URL", "DEL", "ENV", "HDR")),
        pytest.param(DuplicateHeaders, ("HDR", "URL"), marks=pytest.mark.slow),
        pytest.param(Sessions, ("AUTH", "AUTHZ"), marks=pytest.mark.slow),
        pytest.param(AdditionalOperations, ("ENV", "HDR"), marks=pytest.mark.slow),
        pytest.param(AdditionalTimes, ("TIME", "JOB", "BATCH"), marks=pytest.mark.slow),
        pytest.param(UnlimitedPlan, ("SIZE",), marks=pytest.mark.slow),
        pytest.param(SometimesBusy, ("AUTH", "LIM", "HDR"), marks=pytest.mark.slow),
    ],
)
def test_permitted_variant_passes_selected_checks(server: type[Server], only: tuple[str, ...]) -> None:
    with server() as started:
        found = check_server(started, only=only)

    # The format of timestamps is a recommendation.
    assert [one for one in failures(found) if not one.startswith("TIME-002 ")] == []


@pytest.mark.slow
def test_smaller_plan_is_inconclusive() -> None:
    class SmallPlan(Server):
        largest_factor = 2

    with SmallPlan() as server:
        found = check_server(server)

    assert [result for result in found.results if result.verdict is Verdict.FAIL] == []
    assert found.exit is Exit.INCONCLUSIVE


def test_body_limit_of_a_proxy_is_inconclusive() -> None:
    class SmallBodies(Server):
        def form_body(self, request: Any, cap: int) -> list[Part]:
            return super().form_body(request, min(cap, 25 * 2**20))

    with SmallBodies() as server:
        found = check_server(server, only=("BATCH-019",))

    assert [result.verdict for result in found.results] == [Verdict.INCONCLUSIVE]


def test_required_content_length_is_inconclusive() -> None:
    with RequiresContentLength() as server:
        found = check_server(server, only=("ENV-031",))

    assert [result.verdict for result in found.results] == [Verdict.INCONCLUSIVE]


def test_unverified_account_may_log_in() -> None:
    with AutoVerifiesEmail() as server:
        found = check_server(server, profiles=("accounts",))

    assert [result for result in found.results if result.verdict is Verdict.FAIL] == []


@pytest.mark.parametrize("quota", [0, pytest.param(9, marks=pytest.mark.slow)])
def test_used_up_quota_is_inconclusive(quota: int) -> None:
    with Server(quota=quota) as server:
        found = check_server(server, only=ASKED)

    assert [result for result in found.results if result.verdict is Verdict.FAIL] == []
    assert found.exit is Exit.INCONCLUSIVE


@pytest.mark.parametrize("quota", [0, 5])
def test_used_up_quota_is_checked(quota: int) -> None:
    with Server(quota=quota) as server:
        found = check_server(server, only=("LIM-010", "LIM-011"))

    assert {result.requirement.id: result.verdict for result in found.results} == {
        "LIM-010": Verdict.SKIP if quota else Verdict.PASS,
        "LIM-011": Verdict.PASS,
    }


def test_plan_without_batches_is_inconclusive() -> None:
    with Server() as server:
        next(iter(server.accounts.values())).plan = "free"
        found = check_server(server, profiles=("batches",))

    assert {result.verdict for result in found.results} == {Verdict.INCONCLUSIVE}
