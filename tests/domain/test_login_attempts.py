from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from domain import accounts
from domain.errors import TooManyFailedLogins, WrongCredentials

if TYPE_CHECKING:
    from domain.records import Account
    from domain.services import Services

ADDRESS = "192.0.2.1"


def fail_login(services: Services, email: str, address: str = ADDRESS) -> None:
    with pytest.raises(WrongCredentials):
        accounts.log_in(services, email, "wrong", "tests", address)


def test_ten_failures_block_the_account_for_that_address(
    services: Services, account: Account, password: str, clock: Any
) -> None:
    for _ in range(10):
        fail_login(services, account.email)

    with pytest.raises(TooManyFailedLogins) as caught:
        accounts.log_in(services, account.email, password, "tests", ADDRESS)
    assert caught.value.retry_after_seconds == 300
    assert accounts.log_in(services, account.email, password, "tests", "198.51.100.7")

    clock.advance(timedelta(minutes=5))
    assert accounts.log_in(services, account.email, password, "tests", ADDRESS)


# Otherwise one client could try one password on every account.
def test_thirty_failures_block_all_accounts_for_that_address(
    services: Services, account: Account, password: str
) -> None:
    for number in range(30):
        fail_login(services, f"user{number}@example.com")

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, account.email, password, "tests", ADDRESS)


def test_upper_case_email_counts_for_the_same_account(services: Services, account: Account) -> None:
    for number in range(10):
        fail_login(services, account.email.upper() if number % 2 else account.email)

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, account.email.title(), "wrong", "tests", ADDRESS)


def test_unicode_domain_counts_for_the_same_account(services: Services, make_account: Any) -> None:
    make_account(email="jane@example.com")
    for number in range(10):
        fail_login(services, "jane@ex\uff41mple.com" if number % 2 else "jane@example\u3002com")

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(services, "jane@example.com", "wrong", "tests", ADDRESS)


# Each attempt was below the limit when it began. Only ten may learn whether the password was correct.
def test_ten_of_twenty_concurrent_attempts_learn_the_result(
    make_services: Any, services: Services, account: Account, password: str
) -> None:
    all_started = Barrier(20)

    class SlowPasswords:
        def matches(self, given: str, password_hash: str | None) -> bool:
            all_started.wait(10)
            return services.passwords.matches(given, password_hash)

    slow = make_services(passwords=SlowPasswords())

    def attempt(_number: int) -> type[Exception]:
        with pytest.raises((WrongCredentials, TooManyFailedLogins)) as caught:
            accounts.log_in(slow, account.email, "wrong", "tests", ADDRESS)
        return caught.type

    with ThreadPoolExecutor(20) as threads:
        outcomes = Counter(threads.map(attempt, range(20)))

    assert outcomes == {WrongCredentials: 10, TooManyFailedLogins: 10}


def test_correct_password_is_refused_after_concurrent_failures(
    make_services: Any, services: Services, account: Account, password: str
) -> None:
    class OvertakenPasswords:
        def matches(self, given: str, password_hash: str | None) -> bool:
            for _ in range(10):
                fail_login(services, account.email)
            return services.passwords.matches(given, password_hash)

    with pytest.raises(TooManyFailedLogins):
        accounts.log_in(
            make_services(passwords=OvertakenPasswords()), account.email, password, "tests", ADDRESS
        )


def test_successful_logins_are_not_counted(services: Services, account: Account, password: str) -> None:
    for _ in range(40):
        accounts.log_in(services, account.email, password, "tests", ADDRESS)

    assert accounts.log_in(services, account.email, password, "tests", ADDRESS)
