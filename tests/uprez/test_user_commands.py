"""The commands ``uprez user``, each in a process of its own."""

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
    """Provide services of this process on the data folder that the commands use."""
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
    """Return the address of a new account on the Free plan."""
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
    """Return a function that runs ``uprez user …`` and returns the JSON object that it prints."""

    def run(*arguments: str) -> dict[str, Any]:
        done = uprez("user", *arguments, "--data", str(folder))
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        shown: dict[str, Any] = json.loads(line)
        return shown

    return run


def test_plan_command_changes_plan_and_subscription(user: User, email: str) -> None:
    paid = user("plan", email.upper(), "professional")
    free = user("plan", email, "free")

    assert (paid["id"], paid["email"]) == (free["id"], email)
    assert (paid["plan"], paid["images_per_month"]) == ("professional", 250)
    assert paid["subscription"]["status"] == "active"
    assert (free["plan"], free["subscription"]["status"]) == ("free", "cancelled")
    assert free["subscription"]["is_active"] is False
    assert (paid["previous_subscription"], free["previous_subscription"]) == (None, paid["subscription"])


# The result is the same as that of the plan command.
@pytest.mark.parametrize(("plan", "status"), [("starter", SubscriptionStatus.ACTIVE), ("free", None)])
def test_account_on_a_paid_plan_gets_a_subscription(
    user: User, installation: Services, plan: str, status: SubscriptionStatus | None
) -> None:
    user("create", "--email", f"{plan}@example.com", "--name", "P", "--plan", plan, "--verified")

    subscription = accounts.get_by_email(installation, f"{plan}@example.com").subscription
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
def test_subscription_command_sets_status_and_end(
    user: User, email: str, arguments: list[str], expected: tuple[object, ...]
) -> None:
    shown = user("subscription", email, "--status", *arguments)["subscription"]

    assert (shown["status"], shown["trial_ends_at"], shown["ends_at"], shown["is_active"]) == expected


@pytest.mark.parametrize("status", ["cancelled", "lapsed"])
def test_cancelled_or_lapsed_ends_now_by_default(user: User, email: str, status: str) -> None:
    shown = user("subscription", email, "--status", status)["subscription"]

    assert shown["ends_at"] >= shown["created_at"]
    assert (shown["status"], shown["is_active"]) == (status, False)


def test_quota_command_sets_and_resets_the_quota(user: User, email: str) -> None:
    printed = [user("quota", email, images) for images in ("12500", "unlimited", "plan")]

    assert [shown["images_per_month"] for shown in printed] == [12500, None, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["plan", "{email}", "gold"], 1, "There is no plan 'gold'"),
        (["plan", "missing@example.com", "free"], 1, "There is no account for missing@example.com."),
        (["plan", "no address", "free"], 1, "There is no account for no address."),
        (["subscription", "missing@example.com", "--status", "active"], 1, "There is no account"),
        (["subscription", "{email}", "--status", "paused"], 2, "'paused' is not one of"),
        (
            ["subscription", "{email}", "--status", "trial"],
            2,
            "A trial must have an end. Set it with --ends-at.",
        ),
        (
            ["subscription", "{email}", "--status", "active", "--ends-at", "soon"],
            2,
            "'soon' is not a valid time.",
        ),
        (
            ["subscription", "{email}", "--status", "active", "--ends-at", "0001-01-01T00:00:00+14:00"],
            2,
            "is not a valid time.",
        ),
        (
            ["subscription", "{email}", "--status", "lapsed", "--ends-at", "9999-01-01"],
            2,
            "--ends-at cannot be in the future",
        ),
        (["quota", "{email}", "many"], 2, "'many' is not a valid quota."),
        (["quota", "{email}", "²"], 2, "is not a valid quota."),
        (["quota", "{email}", "9" * 5000], 2, "is not a valid quota."),
        (["quota", "missing@example.com", "7"], 1, "There is no account"),
    ],
)
def test_error_has_a_message_and_changes_nothing(
    uprez: Run,
    installation: Services,
    email: str,
    folder: Path,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    before = accounts.get_by_email(installation, email)
    arguments = [argument.format(email=email) for argument in arguments]

    done = uprez("user", *arguments, "--data", str(folder), COLUMNS="20000")

    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert accounts.get_by_email(installation, email) == before


# Every request of such an account would fail, so the service does not start; `uprez user plan` still works.
def test_plan_in_use_cannot_be_removed_from_the_file(uprez: Run, tmp_path: Path) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(
        "[[plans]]\nid = 1\nname = 'Free'\nslug = 'free'\nprice = 0\nrequests_per_hour = 100\n"
        "images_per_month = 2\nmax_scale = 4\nfeatures = []\n"
    )
    environment = {"UPREZ_PLANS_FILE": str(plans), "UPREZ_DATA": str(tmp_path / "data")}
    created = uprez(
        *("user", "create", "--email", "jane@example.com", "--name", "Jane", "--plan", "professional"),
        UPREZ_DATA=str(tmp_path / "data"),
    )
    assert created.returncode == 0, created.stderr

    for command in (["serve", "--port", "0"], ["api"]):
        done = uprez(*command, **environment)

        assert done.returncode == 1
        assert "'professional' (accounts: 1)" in done.stderr
        assert "uprez user plan EMAIL PLAN" in done.stderr
        assert "Traceback" not in done.stderr
    services = wiring.make_services(load_settings(data=tmp_path / "data"))
    before = accounts.get_by_email(services, "jane@example.com")
    for change in (["quota", before.email, "9"], ["subscription", before.email, "--status", "lapsed"]):
        done = uprez("user", *change, **environment)
        assert done.returncode == 1
        assert "There is no plan 'professional'" in done.stderr
    assert accounts.get_by_email(services, before.email) == before
    services.database.close()
    assert uprez("user", "plan", "jane@example.com", "free", **environment).returncode == 0
