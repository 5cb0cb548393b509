"""Several API processes on one data folder: quota and revoked tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from domain import images, quota

StartServer = Callable[..., Any]


@pytest.mark.both_databases
def test_concurrent_uploads_in_processes_use_exactly_the_quota(
    start_server: StartServer,
    migrated_url: Callable[[], str],
    make_owner: Callable[..., Any],
    png: bytes,
) -> None:
    server = start_server(api_processes=3, database_url=migrated_url())
    services, jane = server.services, make_owner(server.services, plan="starter")
    with services.database.writing() as work:
        quota.reserve(work, jane.account, services.plans["starter"], services.clock.now(), 15)
        work.commit()
    start = Barrier(100)

    def upload(_number: int) -> tuple[int, str]:
        with server.client() as client:
            client.get("/health/live")
            start.wait()
            response = client.upload(jane.token, png)
            return response.status, response.message

    with ThreadPoolExecutor(100) as threads:
        results = Counter(threads.map(upload, range(100)))

    assert {status: count for (status, _), count in results.items()} == {202: 10, 403: 90}
    assert len(results) == 2  # every 403 has the message of the quota
    usage = quota.this_month(services, jane.account)
    assert (usage.used, usage.remaining) == (25, 0)
    assert images.list_page(services, jane.account, None, 1, 1).total == 10
    stored = list((server.settings.data / "files" / "originals").iterdir())
    assert len(stored) == 10


@pytest.mark.both_databases
def test_token_revoked_by_one_process_returns_401_in_another(
    start_server: StartServer,
    migrated_url: Callable[[], str],
    make_owner: Callable[..., Any],
) -> None:
    url = migrated_url()
    one = start_server(database_url=url)
    other = start_server(database_url=url, data=one.settings.data)
    jane = make_owner(one.services)
    with one.client() as here, other.client() as there:
        assert [client.get("/api/user", token=jane.token).status for client in (here, there)] == [200, 200]
        assert here.post("/api/auth/logout", token=jane.token).status == 200
        assert there.get("/api/user", token=jane.token).status == 401

        login = {"email": jane.email, "password": jane.password}
        tokens = [here.post("/api/auth/login", json=login).data["token"] for _ in range(2)]
        assert all(there.get("/api/user", token=token).status == 200 for token in tokens)
        assert there.post("/api/auth/revoke-all", token=tokens[0]).status == 200
        assert [here.get("/api/user", token=token).status for token in tokens] == [401, 401]
