"""Mutants of the LIM requirements: quota and rate limit."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from independent.envelope import ApiError
from independent.forms import Part
from independent.records import Account, Caller, Response, Success
from independent.server import Server
from mutants import mutant

REMAINING_HEADER = "X-RateLimit-Remaining"


class PartlyUsed(Server):
    """A server whose accounts have used a third of a small quota."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"quota": 300, **options})
        for account in self.accounts.values():
            account.used = 100


@mutant("remaining-off-by-one", kills=["LIM-001"])
class RemainingOffByOne(Server):
    def usage_data(self, account: Account) -> dict[str, Any]:
        return super().usage_data(account) | {"remaining": self.remaining(account) + 1}


@mutant("percentage-as-fraction", kills=["LIM-002"])
class PercentageAsFraction(PartlyUsed):
    def usage_data(self, account: Account) -> dict[str, Any]:
        return super().usage_data(account) | {"percentage": round(account.used / account.quota, 1)}


@mutant("percentage-not-rounded", kills=["LIM-002"])
class PercentageNotRounded(PartlyUsed):
    def usage_data(self, account: Account) -> dict[str, Any]:
        return super().usage_data(account) | {"percentage": 100 * account.used / account.quota}


@mutant("quota-always-exceeded", kills=["LIM-003"])
class QuotaAlwaysExceeded(Server):
    def usage_data(self, account: Account) -> dict[str, Any]:
        return super().usage_data(account) | {"exceeded": True}


@mutant("upload-not-charged", kills=["LIM-004"])
class UploadNotCharged(Server):
    def charge_quota(self, account: Account, count: int) -> None:
        pass


@mutant("upload-charged-twice", kills=["LIM-004"])
class UploadChargedTwice(Server):
    def charge_quota(self, account: Account, count: int) -> None:
        super().charge_quota(account, 2 * count)


@mutant("rejected-upload-charged", kills=["LIM-005"])
class RejectedUploadCharged(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_image(request, caller, parts)
        except ApiError:
            caller.account.used += 1
            raise


@mutant("errors-without-quota-header", kills=["LIM-006"])
class ErrorsWithoutQuotaHeader(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST:
            response.headers.pop(REMAINING_HEADER, None)


@mutant("quota-header-before-upload", kills=["LIM-006", "LIM-008"])
class QuotaHeaderBeforeUpload(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if response.status == 202:
            response.headers[REMAINING_HEADER] = str(int(response.headers[REMAINING_HEADER]) + 1)


@mutant("batch-charged-as-one-image", kills=["LIM-007"])
class BatchChargedAsOneImage(Server):
    def charge_quota(self, account: Account, count: int) -> None:
        super().charge_quota(account, 1)


@mutant("batches-without-quota-header", kills=["LIM-008"])
class BatchesWithoutQuotaHeader(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if request.path.startswith("/api/batches"):
            response.headers.pop(REMAINING_HEADER, None)


@mutant("missing-retry-after", kills=["LIM-009"])
class MissingRetryAfter(Server):
    def show_usage(self, request: Any, caller: Caller) -> Success:
        raise ApiError(429, "Too many requests.")


class TwoImagesLeft(Server):
    """A server whose accounts have two images left."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"quota": 2, **options})


class NoQuota(Server):
    """A server whose accounts have no quota."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"quota": 0, **options})


@mutant("quota-not-enforced", kills=["LIM-010", "LIM-011"])
class QuotaNotEnforced(NoQuota):
    def charge_quota(self, account: Account, count: int) -> None:
        account.used += count


@mutant("quota-checked-before-validation", kills=["LIM-010"])
class QuotaCheckedBeforeValidation(NoQuota):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        self.charge_quota(caller.account, 1)
        return super().upload_image(request, caller, parts)


@mutant("batch-truncated-to-quota", kills=["LIM-011"])
class BatchTruncatedToQuota(TwoImagesLeft):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        files = [part for part in parts if part.filename]
        others = [part for part in parts if not part.filename]
        return super().upload_batch(request, caller, others + files[: self.remaining(caller.account)])


class RaceCondition(Server):
    """A server that releases its lock between a read and the write that depends on it."""

    def release_lock(self) -> None:
        self.lock.release()
        time.sleep(0.05)
        self.lock.acquire()


@mutant("concurrent-uploads-counted-once", kills=["LIM-012"])
class ConcurrentUploadsCountedOnce(RaceCondition):
    def charge_quota(self, account: Account, count: int) -> None:
        used = account.used
        self.release_lock()
        account.used = used + count


@mutant("concurrent-uploads-share-id", kills=["LIM-012"])
class ConcurrentUploadsShareId(RaceCondition):
    def new_id(self, kind: str) -> int:
        number = self.last_ids.get(kind, 0) + 1
        if kind == "image":
            self.release_lock()
        self.last_ids[kind] = number
        return number
