"""``uprez user``: what an operator says of accounts, each command in a process of its own."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domain import accounts
from domain.records import SubscriptionStatus
from domain.services import Services
from uprez import wiring
from uprez.settings import load_settings

Run = Callable[..., subprocess.CompletedProcess[str]]
User = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A data folder as this process sees it; the commands run in others."""
    settings = load_settings(data=tmp_path_factory.mktemp("data"))
    wiring.prepare_embedded(settings)
    services = wiring.make_services(settings)
    yield services
    services.database.close()


@pytest.fixture
def folder(installation: Services) -> Path:
    return Path(str(installation.database.engine.url.database)).parent


@pytest.fixture
def email(installation: Services) -> str:
    """The address of a new account on the Free plan."""
    address = f"{secrets.token_hex(6)}@example.com"
    accounts.create(
        installation,
        name="Jane",
        email=address,
        password_hash="-",
        plan="free",
        device_name="tests",
        verified=True,
    )
    return address


@pytest.fixture
def user(uprez: Run, folder: Path) -> User:
    """``uprez user …``; the one JSON object that it printed."""

    def run(*arguments: str) -> dict[str, Any]:
        done = uprez("user", *arguments, "--data", str(folder))
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        shown: dict[str, Any] = json.loads(line)
        return shown

    return run


def test_a_plan_is_changed_and_paid_for_with_one_word(user: User, email: str) -> None:
    paid = user("plan", email.upper(), "professional")
    free = user("plan", email, "free")

    assert (paid["id"], paid["email"]) == (free["id"], email)
    assert (paid["plan"], paid["images_per_month"]) == ("professional", 250)
    assert paid["subscription"]["status"] == "active"
    assert (free["plan"], free["subscription"]["status"]) == ("free", "cancelled")
    assert free["subscription"]["is_active"] is False
    assert (paid["previous_subscription"], free["previous_subscription"]) == (None, paid["subscription"])


# As one that is put there afterwards.
@pytest.mark.parametrize(("plan", "status"), [("starter", SubscriptionStatus.ACTIVE), ("free", None)])
def test_an_account_made_on_a_plan_that_costs_something_is_subscribed(
    user: User, installation: Services, plan: str, status: SubscriptionStatus | None
) -> None:
    user("create", "--email", f"{plan}@example.com", "--name", "P", "--plan", plan, "--verified")

    subscription = accounts.named(installation, f"{plan}@example.com").subscription
    assert (subscription and subscription.status) == status


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["active"], ("active", None, None, True)),
        (["active", "--ends-at", "2020-01-01"], ("lapsed", None, "2020-01-01T00:00:00.000000Z", False)),
        (
            ["trial", "--ends-at", "9999-01-01T12:00:00+02:00"],
            ("trial", "9999-01-01T10:00:00.000000Z", None, True),
        ),
        (["trial", "--ends-at", "2020-01-01"], ("lapsed", "2020-01-01T00:00:00.000000Z", None, False)),
        # Without a zone it is UTC.
        (
            ["cancelled", "--ends-at", "9999-01-01T12:00:00"],
            ("cancelled", None, "9999-01-01T12:00:00.000000Z", True),
        ),
        (
            ["cancelled", "--ends-at", "2020-01-01T00:00:00Z"],
            ("cancelled", None, "2020-01-01T00:00:00.000000Z", False),
        ),
        (["lapsed", "--ends-at", "2020-01-01"], ("lapsed", None, "2020-01-01T00:00:00.000000Z", False)),
    ],
)
def test_where_a_subscription_stands_is_the_operators_word(
    user: User, email: str, arguments: list[str], expected: tuple[object, ...]
) -> None:
    shown = user("subscription", email, "--status", *arguments)["subscription"]

    assert (shown["status"], shown["trial_ends_at"], shown["ends_at"], shown["is_active"]) == expected


@pytest.mark.parametrize("status", ["cancelled", "lapsed"])
def test_what_is_cancelled_or_lapsed_without_an_end_ends_now(user: User, email: str, status: str) -> None:
    shown = user("subscription", email, "--status", status)["subscription"]

    assert shown["ends_at"] >= shown["created_at"]
    assert (shown["status"], shown["is_active"]) == (status, False)


def test_a_quota_is_given_and_taken_back(user: User, email: str) -> None:
    given = [user("quota", email, images) for images in ("12500", "unlimited", "plan")]

    assert [shown["images_per_month"] for shown in given] == [12500, None, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["plan", "{email}", "gold"], 1, "There is no plan 'gold'; there are: free, starter"),
        (["plan", "nobody@example.com", "free"], 1, "There is no account for nobody@example.com."),
        (["plan", "no address", "free"], 1, "There is no account for no address."),
        (["subscription", "nobody@example.com", "--status", "active"], 1, "There is no account"),
        (["subscription", "{email}", "--status", "paused"], 2, "'paused' is not one of"),
        (["subscription", "{email}", "--status", "trial"], 2, "A trial has an end: say when with --ends-at."),
        (
            ["subscription", "{email}", "--status", "active", "--ends-at", "soon"],
            2,
            "'soon' is no time such as",
        ),
        (
            ["subscription", "{email}", "--status", "active", "--ends-at", "0001-01-01T00:00:00+14:00"],
            2,
            "is no time such as",
        ),
        (
            ["subscription", "{email}", "--status", "lapsed", "--ends-at", "9999-01-01"],
            2,
            "--ends-at cannot be in the future",
        ),
        (["quota", "{email}", "many"], 2, "'many' is no whole number of images, unlimited or plan."),
        (["quota", "{email}", "²"], 2, "is no whole number"),
        (["quota", "{email}", "9" * 5000], 2, "is no whole number"),
        (["quota", "nobody@example.com", "7"], 1, "There is no account"),
    ],
)
def test_a_mistake_gets_a_sentence_and_changes_nothing(
    uprez: Run,
    installation: Services,
    email: str,
    folder: Path,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    before = accounts.named(installation, email)
    arguments = [argument.format(email=email) for argument in arguments]

    done = uprez("user", *arguments, "--data", str(folder), COLUMNS="20000")

    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert accounts.named(installation, email) == before


# Every request of such an account would crash, so nothing is served; `uprez user plan` still works.
def test_a_plan_that_accounts_are_on_cannot_be_taken_out_of_the_file(uprez: Run, tmp_path: Path) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(
        "[[plans]]\nid = 1\nname = 'Free'\nslug = 'free'\nprice = 0\nrequests_per_hour = 100\n"
        "images_per_month = 2\nmax_scale = 4\nfeatures = []\n"
    )
    environment = {"UPREZ_PLANS_FILE": str(plans), "UPREZ_DATA": str(tmp_path / "data")}
    made = uprez(
        *("user", "create", "--email", "jane@example.com", "--name", "Jane", "--plan", "professional"),
        UPREZ_DATA=str(tmp_path / "data"),
    )
    assert made.returncode == 0, made.stderr

    for command in (["serve", "--port", "0"], ["api"]):
        done = uprez(*command, **environment)

        assert done.returncode == 1
        assert "'professional' (accounts: 1)" in done.stderr
        assert "uprez user plan EMAIL PLAN" in done.stderr
        assert "Traceback" not in done.stderr
    services = wiring.make_services(load_settings(data=tmp_path / "data"))
    before = accounts.named(services, "jane@example.com")
    for change in (["quota", before.email, "9"], ["subscription", before.email, "--status", "lapsed"]):
        done = uprez("user", *change, **environment)
        assert done.returncode == 1
        assert "There is no plan 'professional'" in done.stderr
    assert accounts.named(services, before.email) == before
    services.database.close()
    assert uprez("user", "plan", "jane@example.com", "free", **environment).returncode == 0
