"""Compare the time of failed logins: with an unknown address, and with a wrong password."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import requests
from installation import api, installed, new_account
from redis import Redis

from uprez import wiring


def measure(tries: int = 200) -> dict[str, Any]:
    """Return the median time of both and their ratio."""
    with installed() as settings:
        services = wiring.make_services(settings)
        new_account(services)
        services.database.close()
        seconds: dict[str, list[float]] = {"unknown address": [], "wrong password": []}
        counters = Redis(unix_socket_path=str(settings.valkey_socket))
        with api(settings), requests.Session() as session, counters:
            for _ in range(tries):
                counters.flushall()  # the limit is ten failures
                for kind, email in zip(seconds, ("unknown@example.com", "jane@example.com"), strict=True):
                    began = perf_counter()
                    response = session.post(
                        f"http://127.0.0.1:{settings.port}/api/auth/login",
                        json={"email": email, "password": "Wrong-Horse-1"},
                        timeout=30,
                    )
                    seconds[kind].append(perf_counter() - began)
                    if response.status_code != 401:
                        raise RuntimeError(f"the login returned status {response.status_code}")
    unknown, wrong = (median(times) for times in seconds.values())
    return {
        "median in ms, unknown address": round(unknown * 1000, 2),
        "median in ms, wrong password": round(wrong * 1000, 2),
        "unknown/wrong": round(unknown / wrong, 3),
    }
