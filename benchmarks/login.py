"""How long a refused login takes: for an address that nobody has, and for one with another password."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import requests
from installation import api, installed, new_account
from redis import Redis

from uprez import wiring


def measure(tries: int = 200) -> dict[str, Any]:
    with installed() as settings:
        services = wiring.make_services(settings)
        new_account(services)
        services.database.close()
        seconds: dict[str, list[float]] = {"unknown address": [], "wrong password": []}
        counters = Redis(unix_socket_path=str(settings.valkey_socket))
        with api(settings), requests.Session() as session, counters:
            for _ in range(tries):
                counters.flushall()  # ten failures are all that anybody has
                for kind, email in zip(seconds, ("nobody@example.com", "jane@example.com"), strict=True):
                    began = perf_counter()
                    answer = session.post(
                        f"http://127.0.0.1:{settings.port}/api/auth/login",
                        json={"email": email, "password": "Wrong-Horse-1"},
                        timeout=30,
                    )
                    seconds[kind].append(perf_counter() - began)
                    if answer.status_code != 401:
                        raise RuntimeError(f"login was answered with {answer.status_code}")
    unknown, wrong = (median(times) for times in seconds.values())
    return {
        "median in ms, unknown address": round(unknown * 1000, 2),
        "median in ms, wrong password": round(wrong * 1000, 2),
        "unknown/wrong": round(unknown / wrong, 3),
    }
