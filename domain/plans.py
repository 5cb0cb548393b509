"""Plans: the limits and features of each plan, read once from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import UprezError
from domain.sizing import SCALE_FACTORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from domain.database.unit_of_work import Database

API_ACCESS = "api_access"
BATCHES = "batches"
DEFAULT_PLANS_FILE = Path(__file__).with_name("plans.toml")
UNLIMITED = -1


class PlansError(UprezError):
    """The plans file cannot be used; the message contains the reason."""

    code = "plans_unusable"


class Limit(NamedTuple):
    """One limit of a plan, with the name that it has in the plans file."""

    name: str
    value: int | None  # None: unlimited


@dataclass(frozen=True)
class Plan:
    """The limits and features of one plan."""

    id: int
    name: str
    slug: str
    price: float
    requests_per_hour: int
    images_per_month: int | None  # None: unlimited
    max_scale: int
    features: tuple[str, ...]

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Return the limits under the names that they have in the plans file."""
        names = ("requests_per_hour", "images_per_month", "max_scale")
        return tuple(Limit(name, getattr(self, name)) for name in names)

    @property
    def is_free(self) -> bool:
        return self.price == 0


class Plans:
    """The plans of the installation by slug, in the order of the plans file."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._by_slug = {plan.slug: plan for plan in plans}

    def __iter__(self) -> Iterator[Plan]:
        """Yield the plans in the order of the plans file."""
        return iter(self._by_slug.values())

    def __contains__(self, slug: object) -> bool:
        """Return whether there is a plan with this slug."""
        return slug in self._by_slug

    def __getitem__(self, slug: str) -> Plan:
        """Return the plan with this slug. Raise PlansError if there is none."""
        try:
            return self._by_slug[slug]
        except KeyError:
            raise PlansError(f"There is no plan {slug!r}; there are: {', '.join(self._by_slug)}.") from None


class _Row(BaseModel):
    """One plan in the plans file."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: int = Field(ge=1)
    name: str = Field(min_length=1)
    slug: str = Field(min_length=1, max_length=64)
    price: int | float = Field(ge=0, lt=inf)
    requests_per_hour: int = Field(ge=1)
    images_per_month: int = Field(ge=UNLIMITED)
    max_scale: int = Field(ge=min(SCALE_FACTORS), le=max(SCALE_FACTORS))
    features: list[str]

    def to_plan(self) -> Plan:
        """Return the validated row as a plan; ``UNLIMITED`` images become None."""
        unlimited = self.images_per_month == UNLIMITED
        return Plan(
            id=self.id,
            name=self.name,
            slug=self.slug,
            price=self.price,
            requests_per_hour=self.requests_per_hour,
            images_per_month=None if unlimited else self.images_per_month,
            max_scale=self.max_scale,
            features=tuple(self.features),
        )


class _File(BaseModel):
    plans: list[_Row] = Field(min_length=1)


def load_plans(path: Path = DEFAULT_PLANS_FILE) -> Plans:
    """Read and validate the plans file.

    Raise PlansError if it is missing or invalid, or if two plans have the same id or slug.
    """
    try:
        rows = _File.model_validate(tomllib.loads(path.read_text("utf-8"))).plans
    except ValidationError as reason:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in reason.errors()
        )
        raise PlansError(f"The plans file {path} cannot be used: {problems}") from None
    except (OSError, ValueError) as reason:  # the file is missing, or is not TOML in UTF-8
        raise PlansError(f"The plans file {path} cannot be used: {reason}") from reason
    for field in ("id", "slug"):
        if len({getattr(row, field) for row in rows}) < len(rows):
            raise PlansError(f"The plans file {path} cannot be used: two plans have the same {field}.")
    return Plans(row.to_plan() for row in rows)


def require_plans_in_use(database: Database, plans: Plans) -> None:
    """Raise PlansError if accounts are on a plan that the plans file lacks.

    Each of their requests would fail. The message names each missing plan with its number of accounts. The
    database is read, not changed.
    """
    with database.reading() as work:
        accounts_by_plan = work.accounts.count_by_plan()
    missing = [
        f"{slug!r} (accounts: {count})" for slug, count in accounts_by_plan.items() if slug not in plans
    ]
    if missing:
        raise PlansError(
            f"The plans file lacks plans that accounts are on: {', '.join(missing)}. Add the missing plans to the "
            "file, or move each account with: uprez user plan EMAIL PLAN"
        )
