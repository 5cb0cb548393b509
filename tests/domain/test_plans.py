from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from domain.plans import (
    API_ACCESS,
    DEFAULT_PLANS_FILE,
    Plan,
    Plans,
    PlansError,
    load_plans,
    require_plans_in_use,
)

if TYPE_CHECKING:
    from domain.services import Services

GOOD = """
[[plans]]
id = 1
name = "Hobby"
slug = "hobby"
price = 4.5
requests_per_hour = 50
images_per_month = -1
max_scale = 3
features = ["api_access", "custom_feature"]
"""


def test_default_plans_match_the_documentation(plans: Plans) -> None:
    table = [
        (plan.name, plan.slug, plan.requests_per_hour, plan.images_per_month, API_ACCESS in plan.features)
        for plan in plans
    ]
    assert table == [
        ("Free", "free", 100, 2, False),
        ("Starter", "starter", 500, 25, True),
        ("Professional", "professional", 2000, 250, True),
        ("Enterprise", "enterprise", 10_000, 1000, True),
    ]
    assert [plan.slug for plan in plans if "batches" in plan.features] == ["professional", "enterprise"]
    assert {plan.max_scale for plan in plans} == {4}
    # These are the features in the documentation's usage example.
    assert plans["starter"].features == ("api_access", "priority_support")


def test_default_plans_have_unique_ids_and_rising_prices(plans: Plans) -> None:
    assert [plan.id for plan in plans] == [1, 2, 3, 4]
    prices = [plan.price for plan in plans]
    assert prices[0] == 0
    assert prices == sorted(set(prices))


def test_limits_have_the_names_of_the_plans_file(plans: Plans) -> None:
    assert plans["starter"].limits == (("requests_per_hour", 500), ("images_per_month", 25), ("max_scale", 4))
    unlimited = replace(plans["starter"], images_per_month=None)
    assert ("images_per_month", None) in unlimited.limits


def test_plan_is_found_by_its_slug(plans: Plans) -> None:
    assert plans["starter"].name == "Starter"
    assert "starter" in plans
    assert "Starter" not in plans


def test_unknown_slug_raises_an_error_with_the_known_slugs(plans: Plans) -> None:
    with pytest.raises(
        PlansError, match=r"no plan 'gold'; there are: free, starter, professional, enterprise"
    ):
        plans["gold"]


@pytest.fixture
def plans_file(tmp_path: Path) -> Path:
    path = tmp_path / "plans.toml"
    path.write_text(GOOD, "utf-8")
    return path


def test_plans_file_replaces_the_default_plans(plans_file: Path) -> None:
    assert list(load_plans(plans_file)) == [
        Plan(
            id=1,
            name="Hobby",
            slug="hobby",
            price=4.5,
            requests_per_hour=50,
            images_per_month=None,
            max_scale=3,
            features=("api_access", "custom_feature"),
        )
    ]


def test_smallest_and_largest_values_are_accepted(plans_file: Path) -> None:
    plans_file.write_text(
        """
        [[plans]]
        id = 1
        name = "N"
        slug = "s"
        price = 0
        requests_per_hour = 1
        images_per_month = 0
        max_scale = 2
        features = []

        [[plans]]
        id = 2
        name = "All"
        slug = "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-0123456789"
        price = 99_999.5
        requests_per_hour = 1_000_000
        images_per_month = 1_000_000_000
        max_scale = 4
        features = ["api_access"]
        """,
        "utf-8",
    )
    smallest, largest = load_plans(plans_file)
    assert (smallest.price, smallest.requests_per_hour, smallest.images_per_month) == (0, 1, 0)
    assert (smallest.max_scale, largest.max_scale) == (2, 4)
    assert len(largest.slug) == 64


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("[[plans]]", "[[plan]]"),
        ("[[plans]]", "[plans]"),
        ("[[plans]]", "[[plans"),
        ('name = "Hobby"', ""),
        ('name = "Hobby"', "name = 5"),
        ('name = "Hobby"', 'name = ""'),
        ('slug = "hobby"', 'slug = ["hobby"]'),
        ("price = 4.5", 'price = "4.50 €"'),
        ('slug = "hobby"', f'slug = "{"x" * 65}"'),  # the column of the accounts table is shorter
        ("price = 4.5", "price = -1"),
        ("price = 4.5", "price = nan"),
        ("price = 4.5", "price = inf"),
        ("requests_per_hour = 50", 'requests_per_hour = "many"'),
        ("requests_per_hour = 50", "requests_per_hour = 0"),
        ("requests_per_hour = 50", "requests_per_hour = 50.5"),
        ("images_per_month = -1", "images_per_month = -2"),
        ("images_per_month = -1", "images_per_month = true"),
        ("max_scale = 3", "max_scale = 1"),
        ("max_scale = 3", "max_scale = 5"),
        ('features = ["api_access", "custom_feature"]', 'features = "api_access"'),
        ('features = ["api_access", "custom_feature"]', "features = [1]"),
        ("id = 1", "id = 0"),
    ],
)
def test_invalid_file_raises_an_error_with_path_and_reason(plans_file: Path, good: str, bad: str) -> None:
    text = GOOD.replace(good, bad)
    assert text != GOOD
    plans_file.write_text(text, "utf-8")
    with pytest.raises(PlansError) as caught:
        load_plans(plans_file)
    assert str(caught.value).startswith(f"The plans file {plans_file} cannot be used: ")
    if " = " in good:
        assert f"plans.0.{good.partition(' ')[0]}" in str(caught.value)


def test_missing_or_binary_file_is_refused(plans_file: Path) -> None:
    with pytest.raises(PlansError, match=r"nowhere\.toml cannot be used: "):
        load_plans(plans_file.with_name("nowhere.toml"))
    plans_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlansError, match=r"plans\.toml cannot be used: "):
        load_plans(plans_file)


def test_file_without_plans_is_refused(plans_file: Path) -> None:
    plans_file.write_text("plans = []", "utf-8")
    with pytest.raises(PlansError, match="at least 1 item"):
        load_plans(plans_file)


# The second plan would silently replace the first.
@pytest.mark.parametrize(
    ("same", "good", "other"), [("slug", "id = 1", "id = 2"), ("id", 'slug = "hobby"', 'slug = "other"')]
)
def test_duplicate_id_or_slug_is_refused(plans_file: Path, same: str, good: str, other: str) -> None:
    plans_file.write_text(GOOD + GOOD.replace(good, other), "utf-8")
    with pytest.raises(PlansError, match=f"two plans have the same {same}"):
        load_plans(plans_file)


def test_default_file_is_part_of_the_package() -> None:
    assert DEFAULT_PLANS_FILE.is_file()


def test_missing_plan_of_an_account_is_refused(
    services: Services, make_account: Any, make_services: Any
) -> None:
    require_plans_in_use(services.database, services.plans)
    for plan in ("starter", "enterprise", "enterprise"):
        make_account(plan)
    remaining = [plan for plan in services.plans if plan.slug in {"free", "starter"}]

    require_plans_in_use(services.database, services.plans)
    with pytest.raises(PlansError, match=r"'enterprise' \(accounts: 2\)"):
        require_plans_in_use(services.database, type(services.plans)(remaining))
