"""Servers that count the quota otherwise than they tell."""

from __future__ import annotations

import time
from typing import Any

from independent.envelope import Refused
from independent.forms import Part
from independent.records import Account, Caller, Response, Success
from independent.server import Server
from mutants import mutant

REMAINING = "X-RateLimit-Remaining"


class PartlyUsed(Server):
    """A third of a small quota is used up."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"quota": 300, **given})
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
    def take(self, account: Account, count: int) -> None:
        pass


@mutant("upload-charged-twice", kills=["LIM-004"])
class UploadChargedTwice(Server):
    def take(self, account: Account, count: int) -> None:
        super().take(account, 2 * count)


@mutant("rejected-upload-charged", kills=["LIM-005"])
class RejectedUploadCharged(Server):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        try:
            return super().upload_image(request, caller, parts)
        except Refused:
            caller.account.used += 1
            raise


@mutant("errors-without-quota-header", kills=["LIM-006"])
class ErrorsWithoutQuotaHeader(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if response.status >= 400:
            response.headers.pop(REMAINING, None)


@mutant("quota-header-before-upload", kills=["LIM-006", "LIM-008"])
class QuotaHeaderBeforeUpload(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if response.status == 202:
            response.headers[REMAINING] = str(int(response.headers[REMAINING]) + 1)


@mutant("batch-charged-as-one-image", kills=["LIM-007"])
class BatchChargedAsOneImage(Server):
    def take(self, account: Account, count: int) -> None:
        super().take(account, 1)


@mutant("batches-without-quota-header", kills=["LIM-008"])
class BatchesWithoutQuotaHeader(Server):
    def adjust_response(self, request: Any, response: Response) -> None:
        if request.path.startswith("/api/batches"):
            response.headers.pop(REMAINING, None)


@mutant("missing-retry-after", kills=["LIM-009"])
class MissingRetryAfter(Server):
    def show_usage(self, request: Any, caller: Caller) -> Success:
        raise Refused(429, "Too many requests.")


class LittleLeft(Server):
    """Accounts that have two images left."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"quota": 2, **given})


class NothingLeft(Server):
    def __init__(self, **given: Any) -> None:
        super().__init__(**{"quota": 0, **given})


@mutant("quota-not-enforced", kills=["LIM-010", "LIM-011"])
class QuotaNotEnforced(NothingLeft):
    def take(self, account: Account, count: int) -> None:
        account.used += count


@mutant("quota-checked-before-validation", kills=["LIM-010"])
class QuotaCheckedBeforeValidation(NothingLeft):
    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        self.take(caller.account, 1)
        return super().upload_image(request, caller, parts)


@mutant("batch-truncated-to-quota", kills=["LIM-011"])
class BatchTruncatedToQuota(LittleLeft):
    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        pictures = [part for part in parts if part.filename]
        others = [part for part in parts if not part.filename]
        return super().upload_batch(request, caller, others + pictures[: self.remaining(caller.account)])


class Crossing(Server):
    """Between reading a number and writing it, it lets others in."""

    def let_others_in(self) -> None:
        self.lock.release()
        time.sleep(0.05)
        self.lock.acquire()


@mutant("concurrent-uploads-counted-once", kills=["LIM-012"])
class ConcurrentUploadsCountedOnce(Crossing):
    def take(self, account: Account, count: int) -> None:
        used = account.used
        self.let_others_in()
        account.used = used + count


@mutant("concurrent-uploads-share-id", kills=["LIM-012"])
class ConcurrentUploadsShareId(Crossing):
    def new_id(self, kind: str) -> int:
        number = self.last_ids.get(kind, 0) + 1
        if kind == "image":
            self.let_others_in()
        self.last_ids[kind] = number
        return number
