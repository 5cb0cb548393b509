"""The Python client that openapi-python-client generates from the served contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from project_root import ROOT

if TYPE_CHECKING:
    from tests.docs.conftest import Customer, Customers, Run

pytest.importorskip("openapi_python_client", reason="the group docs is not installed")

ADDRESS = "http://127.0.0.1:8000"

PROGRAM = """
import os
import sys
import time
from pathlib import Path

from uprez_client import AuthenticatedClient
from uprez_client.api.files import get_file as fetch
from uprez_client.api.images import delete_image as delete
from uprez_client.api.images import download_image as download
from uprez_client.api.images import get_image as get
from uprez_client.api.images import upscale_image as upscale
from uprez_client.models import ErrorResponse, ImageStatus, Upload, ValidationErrorResponse
from uprez_client.types import File

with AuthenticatedClient(sys.argv[1], os.environ["UPREZ_TOKEN"]) as client:
    with open("photo.jpg", "rb") as photo:
        invalid = Upload(File(photo, "photo.jpg"), scale_factor=2, target_width=180)
        error = upscale.sync(client=client, body=invalid)
    assert isinstance(error, ValidationErrorResponse)
    assert "scale_factor" in error.errors.additional_properties

    with open("photo.jpg", "rb") as photo:
        image = upscale.sync(client=client, body=Upload(File(photo, "photo.jpg"), target_width=180)).data
    while image.status not in (ImageStatus.COMPLETED, ImageStatus.FAILED):
        time.sleep(0.1)
        image = get.sync(image.id, client=client).data
    key = download.sync(image.id, client=client).data.download_url.rpartition("/")[2]
    Path("result.jpg").write_bytes(fetch.sync(key, client=client).payload.read())

    assert delete.sync(image.id, client=client).success
    assert isinstance(get.sync(image.id, client=client), ErrorResponse)
    print(image.upscaled_dimensions, image.original_filename)
"""


def run_block(name: str, origin: str, folder: Path, run: Run) -> str:
    """Run a block of ``docs/clients.md`` against ``origin`` and return what it printed."""
    page = (ROOT / "docs" / "clients.md").read_text("utf-8")
    (code,) = re.findall(rf"<!-- run: {name} -->\n```sh\n(.*?)```", page, re.DOTALL)
    done = run("bash", "-eu", "-c", code.replace(ADDRESS, origin), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(customers: Customers, photo: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder with a photograph and the client that the documented command generates."""
    made = tmp_path_factory.mktemp("client")
    (made / "docs").symlink_to(ROOT / "docs")
    (made / "photo.jpg").symlink_to(photo)

    assert "arning" not in run_block("client", customers.origin, made, run)
    return made


def test_generated_client_uploads_downloads_and_deletes(folder: Path, customer: Customer, run: Run) -> None:
    (folder / "program.py").write_text(PROGRAM)

    done = run("python", "-W", "error", "program.py", customer.api, cwd=folder, UPREZ_TOKEN=customer.token)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "180x150 photo.jpg\n"
    with Image.open(folder / "result.jpg") as result:
        assert (result.format, result.size) == ("JPEG", (180, 150))
