"""Mutants of the PAGE requirements: lists, pages, links and filters."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from independent.records import Caller, StoredBatch, StoredImage, Success
from independent.server import Server
from mutants import mutant

Query = list[tuple[str, str]]
Paging = tuple[int, int, str | None]


@mutant("pages-overlap", kills=["PAGE-001", "PAGE-011"])
class PagesOverlap(Server):
    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        return found[max(0, (number - 1) * per_page - 1) : number * per_page]


@mutant("page-omits-last-item", kills=["PAGE-001"])
class PageOmitsLastItem(Server):
    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        return super().page_slice(found, number, per_page)[: max(1, per_page - 1)]


@mutant("total-counts-page-only", kills=["PAGE-001"])
class TotalCountsPageOnly(Server):
    def meta(self, number: int, last: int, per_page: int, total: int) -> dict[str, Any]:
        return super().meta(number, last, per_page, min(per_page, total))


@mutant("oldest-first", kills=["PAGE-002", "PAGE-011"])
class OldestFirst(Server):
    def newest_first(self, records: list[Any]) -> list[Any]:
        return super().newest_first(records)[::-1]


@mutant("page-clamped-to-range", kills=["PAGE-003", "PAGE-012"])
class PageClampedToRange(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        nearest = {"page": 1, "per_page": 15}
        kept = [
            (name, str(max(1, min(100, int(value)))) if value.lstrip("-").isdecimal() else str(nearest[name]))
            if name in nearest
            else (name, value)
            for name, value in query
        ]
        return super().parse_paging(kept, statuses)


@mutant("per-page-default-10", kills=["PAGE-004"])
class PerPageDefault10(Server):
    def default_per_page(self) -> int:
        return 10


@mutant("per-page-maximum-50", kills=["PAGE-004"])
class PerPageMaximum50(Server):
    def max_per_page(self) -> int:
        return 50


@mutant("page-past-end-returns-404", kills=["PAGE-005"])
class PagePastEndReturns404(Server):
    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        if number > self.last_page(len(found), per_page):
            raise self.not_found()
        return super().page_slice(found, number, per_page)


@mutant("page-past-end-shows-last-page", kills=["PAGE-005"])
class PagePastEndShowsLastPage(Server):
    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        return super().page_slice(found, min(number, self.last_page(len(found), per_page)), per_page)


@mutant("ignores-status-filter", kills=["PAGE-006", "PAGE-013"])
class IgnoresStatusFilter(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        number, per_page, _ = super().parse_paging(query, statuses)
        return number, per_page, None


@mutant("accepts-unknown-status-filter", kills=["PAGE-006"])
class AcceptsUnknownStatusFilter(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        return super().parse_paging(query, (*statuses, *(value for name, value in query if name == "status")))


@mutant("page-links-without-status", kills=["PAGE-007"])
class PageLinksWithoutStatus(Server):
    def links(self, path: str, query: Query, number: int, last: int) -> dict[str, Any]:
        return super().links(path, [pair for pair in query if pair[0] != "status"], number, last)


@mutant("next-link-to-same-page", kills=["PAGE-007"])
class NextLinkToSamePage(Server):
    def links(self, path: str, query: Query, number: int, last: int) -> dict[str, Any]:
        links = super().links(path, query, number, last)
        following = links["next"]
        return links | {"next": following and following.replace(f"&page={number + 1}", f"&page={number}")}


@mutant("last-page-with-next-link", kills=["PAGE-007"])
class LastPageWithNextLink(Server):
    def links(self, path: str, query: Query, number: int, last: int) -> dict[str, Any]:
        links = super().links(path, query, number, last)
        return links | {"next": links["next"] or links["last"]}


@mutant("accepts-repeated-query-parameter", kills=["PAGE-008", "PAGE-012"])
class AcceptsRepeatedQueryParameter(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        return super().parse_paging(list(dict(query).items()), statuses)


@mutant("rejects-unknown-query-parameter", kills=["PAGE-009"])
class RejectsUnknownQueryParameter(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        unknown = {name for name, _ in query} - {"page", "per_page", "status"}
        if unknown:
            raise self.invalid({name: ["There is no such parameter."] for name in unknown})
        return super().parse_paging(query, statuses)


@mutant("last-page-rounded-down", kills=["PAGE-010", "PAGE-014"])
class LastPageRoundedDown(Server):
    def last_page(self, total: int, per_page: int) -> int:
        return max(1, total // per_page)


@mutant("empty-list-last-page-zero", kills=["PAGE-010"])
class EmptyListLastPageZero(Server):
    def meta(self, number: int, last: int, per_page: int, total: int) -> dict[str, Any]:
        return super().meta(number, last if total else 0, per_page, total)


@mutant("batch-page-links-to-images", kills=["PAGE-014"])
class BatchPageLinksToImages(Server):
    def links(self, path: str, query: Query, number: int, last: int) -> dict[str, Any]:
        return super().links("/images", query, number, last)


@mutant("ties-not-ordered-by-id", kills=["PAGE-015"])
class TiesNotOrderedById(Server):
    def newest_first(self, records: list[Any]) -> list[Any]:
        def moment(record: StoredImage | StoredBatch) -> Any:
            batch = record.batch if isinstance(record, StoredImage) else None
            return batch.created_at if batch else record.created_at

        return sorted(records, key=moment, reverse=True)

    def image_data(self, image: StoredImage) -> dict[str, Any]:
        data = super().image_data(image)
        return data | ({"created_at": self.time_text(image.batch.created_at)} if image.batch else {})


@mutant("processing-filter-includes-pending", kills=["PAGE-016"])
class ProcessingFilterIncludesPending(Server):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.3, **options})

    def status_of(self, record: StoredImage | StoredBatch) -> str:
        status = super().status_of(record)
        return "processing" if status == "pending" else status


@mutant("list-omits-oldest-image", kills=["PAGE-017"])
class ListOmitsOldestImage(Server):
    def list_owned(self, records: dict[int, Any], account: Any) -> list[Any]:
        return super().list_owned(records, account)[:-1]


@mutant("listed-images-without-result-fields", kills=["PAGE-018"])
class ListedImagesWithoutResultFields(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        found = super().list_images(request, caller)
        empty = {"upscaled_size": None, "upscaled_dimensions": None, "processing_time": None}
        found.data = [image | empty for image in found.data]
        return found


@mutant("listed-image-links-unsigned", kills=["PAGE-018"])
class ListedImageLinksUnsigned(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        found = super().list_images(request, caller)
        for image in found.data:
            image["download_url"] = image["download_url"] and image["download_url"].partition("?")[0]
        return found


class SlowWorker(Server):
    """A server whose work takes long enough to observe unfinished images."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"work_seconds": 0.3, **options})


@mutant("filters-after-pagination", kills=["PAGE-019"])
class FiltersAfterPagination(SlowWorker):
    def list_images(self, request: Any, caller: Caller) -> Success:
        query = parse_qsl(request.query_string)
        kept = [pair for pair in query if pair[0] != "status"]
        expected = super().list_images(request, caller)
        status = dict(query).get("status")
        if status is None:
            return expected
        request.environ["QUERY_STRING"] = urlencode(kept)
        found = super().list_images(request, caller)
        found.data = [image for image in found.data if image["status"] == status]
        found.extra = expected.extra
        return found


@mutant("next-and-prev-without-status", kills=["PAGE-019", "PAGE-020"])
class NextAndPrevWithoutStatus(Server):
    def links(self, path: str, query: Query, number: int, last: int) -> dict[str, Any]:
        without_status = super().links(path, [pair for pair in query if pair[0] != "status"], number, last)
        links = super().links(path, query, number, last)
        return links | {"next": without_status["next"], "prev": without_status["prev"]}


@mutant("processing-filter-finds-nothing", kills=["PAGE-021"])
class ProcessingFilterFindsNothing(SlowWorker):
    def status_of(self, record: StoredImage | StoredBatch) -> str:
        return super().status_of(record).replace("processing", "running")


@mutant("pending-filter-finds-nothing", kills=["PAGE-021"])
class PendingFilterFindsNothing(SlowWorker):
    def status_of(self, record: StoredImage | StoredBatch) -> str:
        return super().status_of(record).replace("pending", "queued")


@mutant("cancelled-filter-finds-nothing", kills=["PAGE-022"])
class CancelledFilterFindsNothing(SlowWorker):
    def status_of(self, record: StoredImage | StoredBatch) -> str:
        return super().status_of(record).replace("cancelled", "canceled")


@mutant("lenient-page-numbers", kills=["PAGE-023"])
class LenientPageNumbers(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        return super().parse_paging([(name, self.normalized(value)) for name, value in query], statuses)

    def normalized(self, value: str) -> str:
        try:
            return str(int(value))
        except ValueError:
            return value


def has_filter_all(query: Query) -> bool:
    return ("status", "all") in query


@mutant("image-status-all-rejected", kills=["PAGE-024"])
class ImageStatusAllRejected(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        if has_filter_all(query) and "cancelled" not in statuses:
            raise self.invalid({"status": ["There is no such status."]})
        return super().parse_paging(query, statuses)


@mutant("batch-status-all-rejected", kills=["PAGE-025"])
class BatchStatusAllRejected(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        if has_filter_all(query) and "cancelled" in statuses:
            raise self.invalid({"status": ["There is no such status."]})
        return super().parse_paging(query, statuses)


@mutant("image-status-all-finds-nothing", kills=["PAGE-024"])
class ImageStatusAllFindsNothing(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        number, per_page, status = super().parse_paging(query, statuses)
        is_batches = "cancelled" in statuses
        return number, per_page, "all" if has_filter_all(query) and not is_batches else status


@mutant("batch-status-all-finds-nothing", kills=["PAGE-025"])
class BatchStatusAllFindsNothing(Server):
    def parse_paging(self, query: Query, statuses: tuple[str, ...]) -> Paging:
        number, per_page, status = super().parse_paging(query, statuses)
        is_batches = "cancelled" in statuses
        return number, per_page, "all" if has_filter_all(query) and is_batches else status
