"""Compare page one of ``GET /images`` for an account with 100 images and for one with 100,000, over HTTP."""

from __future__ import annotations

from statistics import median
from typing import Any

from installation import api, installed, new_account
from load import load
from sqlalchemy import text

from uprez import wiring

MANY = 100_000
_IMAGES = """
INSERT INTO images (account_id, original_filename, original_key, original_size, original_width,
    original_height, picture_format, api_request, status, attempt, lost, woken_at, progress, quota_month,
    created_at, updated_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many)
SELECT :account, 'photo.png', 'originals/' || i, 1, 8, 6, 'png', 1,
    CASE WHEN i % 50 = 0 THEN 'pending' ELSE 'failed' END, 0, 0, at, 0, '2026-01', at, at
FROM (SELECT i, strftime('%Y-%m-%d %H:%M:%S.000000', '2026-01-01', '+' || i || ' seconds') AS at FROM n)
"""
_COUNTS = """
INSERT INTO image_counts (account_id, status, images)
SELECT account_id, status, count(*) FROM images GROUP BY account_id, status
"""


def measure(rounds: int = 4, seconds: float = 1.5) -> dict[str, Any]:
    """Return the median latency of both accounts, with and without a filter."""
    with installed() as settings:
        services = wiring.make_services(settings)
        tokens = {}
        for count in (100, MANY):
            account, tokens[count] = new_account(services, f"{count}@example.com")
            with services.database.engine.begin() as connection:
                connection.execute(text(_IMAGES), {"many": count, "account": account.id})
        with services.database.engine.begin() as connection:
            connection.execute(text(_COUNTS))
        services.database.close()
        result: dict[str, Any] = {}
        with api(settings):
            for path in ("/api/images", "/api/images?status=failed"):
                runs: dict[int, list[float]] = {count: [] for count in tokens}
                for _ in range(rounds):
                    for count, token in tokens.items():
                        loaded = load(settings.port, path, token, connections=1, seconds=seconds)
                        runs[count].append(loaded.percentile(50))
                few, many = (median(runs[count]) * 1000 for count in (100, MANY))
                result[path] = {
                    "p50 in ms, 100 images": round(few, 2),
                    "p50 in ms, 100,000 images": round(many, 2),
                    "100,000/100": round(many / few, 2),
                }
    return result
