"""Lists with pages and a status filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from independent.access import Access
from independent.progress import BatchProgress
from independent.records import StoredBatch, Success
from independent.request_parsing import RequestParsing

if TYPE_CHECKING:
    from collections.abc import Callable

    from independent.envelope import Errors
    from independent.records import Account, StoredImage

DEFAULT_PER_PAGE, MAX_PER_PAGE = 15, 100


class Lists(Access, RequestParsing, BatchProgress):
    """Pages of the caller's records."""

    def list_owned(self, records: dict[int, Any], account: Account) -> list[Any]:
        """Return the account's records, newest first."""
        return self.newest_first([record for record in records.values() if self.is_owner(account, record)])

    def newest_first(self, records: list[Any]) -> list[Any]:
        """Return the records by time of creation, then by id, both descending."""
        return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)

    def page(
        self, request: Any, path: str, found: list[Any], statuses: tuple[str, ...], data: Callable[[Any], Any]
    ) -> Success:
        """Return the page that the query asks for. Raise ``ApiError`` with 422 for an invalid query."""
        query = parse_qsl(request.query_string, keep_blank_values=True)
        number, per_page, status = self.parse_paging(query, statuses)
        if status is not None:
            found = [record for record in found if self.status_of(record) == status]
        last = self.last_page(len(found), per_page)
        extra = {
            "meta": self.meta(number, last, per_page, len(found)),
            "links": self.links(path, query, number, last),
        }
        shown = [data(record) for record in self.page_slice(found, number, per_page)]
        return Success("Retrieved successfully", shown, extra=extra)

    def status_of(self, record: StoredImage | StoredBatch) -> str:
        """Return the status that the filter compares."""
        return self.batch_status(record) if isinstance(record, StoredBatch) else record.status

    def parse_paging(
        self, query: list[tuple[str, str]], statuses: tuple[str, ...]
    ) -> tuple[int, int, str | None]:
        """Return page number, page size and status. Raise ``ApiError`` with 422 for invalid or repeated values."""
        errors: Errors = {}
        parsed: dict[str, Any] = {"page": 1, "per_page": self.default_per_page(), "status": None}
        maximum = {"page": 2**53 - 1, "per_page": self.max_per_page()}
        for name in ("page", "per_page", "status"):
            values = [value for key, value in query if key == name]
            if len(values) > 1:
                errors[name] = [f"The {name} is repeated."]
            elif values and name == "status":
                parsed[name] = None if values[0] in {"all", ""} else values[0]
                if values[0] not in {*statuses, "all", ""}:
                    errors[name] = [f"The status must be one of: {', '.join(statuses)}."]
            elif values:
                parsed[name] = self.parse_integer(values[0])
                if parsed[name] is None or not 1 <= parsed[name] <= maximum[name]:
                    errors[name] = [f"The {name} must be a whole number between 1 and {maximum[name]}."]
        if errors:
            raise self.invalid(errors)
        return parsed["page"], parsed["per_page"], parsed["status"]

    def default_per_page(self) -> int:
        """Return the page size of a query without one."""
        return DEFAULT_PER_PAGE

    def max_per_page(self) -> int:
        """Return the largest page size."""
        return MAX_PER_PAGE

    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        """Return the records of one page."""
        return found[(number - 1) * per_page : number * per_page]

    def last_page(self, total: int, per_page: int) -> int:
        """Return the number of the last page; an empty list has page 1."""
        return max(1, -(-total // per_page))

    def meta(self, number: int, last: int, per_page: int, total: int) -> dict[str, Any]:
        """Return the envelope's ``meta``."""
        return {"current_page": number, "last_page": last, "per_page": per_page, "total": total}

    def links(self, path: str, query: list[tuple[str, str]], number: int, last: int) -> dict[str, Any]:
        """Return the envelope's ``links``, which keep page size and status."""
        kept = [(name, value) for name, value in query if name in {"per_page", "status"}]

        def page_url(page: int) -> str:
            return f"{self.base_url}{path}?{urlencode([*kept, ('page', str(page))])}"

        return {
            "first": page_url(1),
            "last": page_url(last),
            "prev": page_url(min(number - 1, last)) if number > 1 else None,
            "next": page_url(number + 1) if number < last else None,
        }
