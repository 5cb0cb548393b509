"""Measure how much memory the API process needs for a batch of 20 images of 10 MB."""

from __future__ import annotations

import threading
from typing import Any

import psutil
import requests
from installation import api, installed, new_account

from uprez import wiring

FILES, MEGABYTES = 20, 10


def measure() -> dict[str, Any]:
    """Return the resident memory before the upload and its largest growth."""
    with installed() as settings:
        services = wiring.make_services(settings)
        _account, token = new_account(services)
        services.database.close()
        with api(settings) as worker:
            process = psutil.Process(worker)
            _upload(settings.port, token, 1)  # loads modules that are imported on first use
            before = process.memory_info().rss
            peak, done = before, threading.Event()

            def watch() -> None:
                nonlocal peak
                while not done.wait(0.005):
                    peak = max(peak, process.memory_info().rss)

            watcher = threading.Thread(target=watch)
            watcher.start()
            _upload(settings.port, token, FILES)
            done.set()
            watcher.join()
    return {
        "uploaded in MB": FILES * MEGABYTES,
        "resident before in MB": round(before / 1e6, 1),
        "largest growth in MB": round((peak - before) / 1e6, 1),
    }


def _upload(port: int, token: str, files: int) -> None:
    bitmap = _bitmap()
    session = requests.Session()
    response = session.post(
        f"http://127.0.0.1:{port}/api/batches",
        headers={"Authorization": f"Bearer {token}"},
        files=[("images[]", (f"photo-{number}.bmp", bitmap)) for number in range(files)],
        timeout=120,
    )
    if response.status_code not in {201, 202}:
        raise RuntimeError(f"the batch returned status {response.status_code}: {response.text}")


def _bitmap() -> bytes:
    """Return a BMP file of just under ten megabytes: 1,824 × 1,824 pixels of 24 bits."""
    side = 1824
    size = 54 + side * side * 3
    head = b"BM" + size.to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + side.to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    return head + info + bytes(size - 54)
