"""Compare ``GET /images/{id}`` with a token: one process of Uprez and one of a plain Flask view, in turn."""

from __future__ import annotations

import io
import os
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

from installation import ROOT, api, free_port, installed, new_account, running
from load import load

from domain.formats import ImageFormat
from domain.records import NewImage
from domain.sizing import Size, Sizing
from uprez import wiring

if TYPE_CHECKING:
    from load import Load

    from uprez.settings import Settings

CONNECTIONS = 50
PEER_THREADS = 8
UPREZ, FLASK = "Uprez", "plain Flask"


def measure(rounds: int = 5, seconds: float = 6) -> dict[str, Any]:
    """Return rates and latencies of both, and their ratios."""
    with installed() as settings:
        token, image_id = _one_image(settings)
        path, peer_port = f"/api/images/{image_id}", free_port()
        with api(settings), _peer(settings, peer_port):
            ports = {UPREZ: settings.port, FLASK: peer_port}
            runs: dict[str, list[Load]] = {name: [] for name in ports}
            for _ in range(rounds):
                for name, port in ports.items():
                    runs[name].append(load(port, path, token, connections=CONNECTIONS, seconds=seconds))
    result: dict[str, Any] = {name: _summary(loads) for name, loads in runs.items()}
    pairs = list(zip(runs[UPREZ], runs[FLASK], strict=True))
    result["throughput, Uprez/Flask"] = round(
        median(uprez.per_second / flask.per_second for uprez, flask in pairs), 2
    )
    result["p99, Uprez/Flask"] = round(
        median(uprez.percentile(99) / flask.percentile(99) for uprez, flask in pairs), 2
    )
    return result


def _one_image(settings: Settings) -> tuple[str, int]:
    """Create an account with one pending image; return its token and the image's id."""
    services = wiring.make_services(settings)
    account, token = new_account(services)
    key = "originals/measured.png"
    size = services.store.put(key, io.BytesIO(bytes(1024)))
    with services.database.writing() as work:
        image = work.images.add(
            NewImage(
                account_id=account.id,
                filename="photo.png",
                original_key=key,
                original_bytes=size,
                original_size=Size(8, 6),
                image_format=ImageFormat.PNG,
                sizing=Sizing(2, None, None),
                api_request=True,
                quota_month="2026-11",
            ),
            services.clock.now(),
        )
        work.commit()
    services.database.close()
    return token, image.id


def _peer(settings: Settings, port: int) -> Any:
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--worker-class", "gthread"]
    options = ["--threads", str(PEER_THREADS), "--keep-alive", "15", "--log-level", "warning"]
    address = ["--bind", f"127.0.0.1:{port}", "--chdir", str(ROOT / "benchmarks"), "peer:app"]
    return running(
        [*command, *options, *address],
        port,
        {**os.environ, "PEER_DATABASE_URL": settings.resolved_database_url},
    )


def _summary(loads: list[Load]) -> dict[str, float]:
    return {
        "requests per second": round(median(each.per_second for each in loads)),
        "p50 in ms": round(median(each.percentile(50) for each in loads) * 1000, 1),
        "p99 in ms": round(median(each.percentile(99) for each in loads) * 1000, 1),
    }


if __name__ == "__main__":
    print(measure(rounds=2, seconds=4))
