"""What an account may do: read once from a TOML file, the same for everybody on the plan."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import UprezError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

API_ACCESS = "api_access"
DEFAULT_PLANS_FILE = Path(__file__).with_name("plans.toml")
_UNLIMITED = -1


class PlansError(UprezError):
    """The plans file cannot be used; the message says why."""

    code = "plans_unusable"


@dataclass(frozen=True)
class Plan:
    id: int
    name: str
    slug: str
    price: float
    requests_per_hour: int
    images_per_month: int | None  # None: unlimited
    max_scale: int
    features: tuple[str, ...]


class Plans:
    def __init__(self, plans: Iterable[Plan]) -> None:
        self._by_slug = {plan.slug: plan for plan in plans}

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._by_slug.values())

    def __contains__(self, slug: object) -> bool:
        return slug in self._by_slug

    def __getitem__(self, slug: str) -> Plan:
        """Raises PlansError for a slug that the file does not have."""
        try:
            return self._by_slug[slug]
        except KeyError:
            raise PlansError(f"There is no plan {slug!r}; there are: {', '.join(self._by_slug)}.") from None


def load_plans(path: Path = DEFAULT_PLANS_FILE) -> Plans:
    """Raises PlansError."""
    try:
        rows = tomllib.loads(path.read_text("utf-8"))["plans"]
        return Plans([_plan(row) for row in rows])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as reason:
        raise PlansError(f"The plans file {path} cannot be used: {reason!r}") from reason


def _plan(row: dict[str, Any]) -> Plan:
    images = int(row["images_per_month"])
    return Plan(
        id=int(row["id"]),
        name=str(row["name"]),
        slug=str(row["slug"]),
        price=row["price"],
        requests_per_hour=int(row["requests_per_hour"]),
        images_per_month=None if images == _UNLIMITED else images,
        max_scale=int(row["max_scale"]),
        features=tuple(row["features"]),
    )
