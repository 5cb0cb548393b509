"""A client that uses only what the API documentation says: its parameters, fields and statuses."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import requests
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.conftest import Customer, Customers


class DocumentedClient:
    """The operations of the documentation with its parameters; every response must have its envelope."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}

    def request(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        response = requests.request(
            method, f"{self._base_url}{path}", headers=self._headers, timeout=60, **options
        )
        body: dict[str, Any] = response.json()
        assert response.status_code == status, body
        assert body["success"] is (status < 400)
        assert isinstance(body["message"], str)
        return body

    def poll(self, path: str, finished: set[str]) -> dict[str, Any]:
        while True:
            data: dict[str, Any] = self.request("GET", path, 200)["data"]
            if data["status"] in finished:
                return data
            time.sleep(0.2)


def size_of(url: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(requests.get(url, timeout=60).content)) as image:
        return image.size


def test_documented_client_upscales_lists_and_deletes(customers: Customers, photo: Path) -> None:
    customer = customers.register_verified()
    client = DocumentedClient(customer.api, customer.token)
    files = {"image": ("photo.jpg", photo.read_bytes())}

    accepted = client.request("POST", "/images/upscale", 202, files=files, data={"scale_factor": 2})["data"]
    assert accepted["original_dimensions"] is None
    image = client.poll(f"/images/{accepted['id']}", {"completed", "failed"})
    assert (image["status"], image["upscaled_dimensions"]) == ("completed", "192x160")
    download = client.request("GET", f"/images/{image['id']}/download", 200)["data"]
    assert (download["filename"], size_of(download["download_url"])) == ("photo.jpg", (192, 160))
    by_width = client.request("POST", "/images/upscale", 202, files=files, data={"target_width": 180})["data"]
    assert client.poll(f"/images/{by_width['id']}", {"completed"})["upscaled_dimensions"] == "180x150"
    both = {"scale_factor": 2, "target_width": 180}
    assert "scale_factor" in client.request("POST", "/images/upscale", 422, files=files, data=both)["errors"]

    for query in ("", "?status=all", "?per_page=10&status=completed"):
        listed = client.request("GET", f"/images{query}", 200)
        assert {one["id"] for one in listed["data"]} == {image["id"], by_width["id"]}
        assert listed["meta"]["total"] == 2
        assert listed["links"].keys() == {"first", "last", "prev", "next"}
    client.request("DELETE", f"/images/{image['id']}", 200)
    client.request("GET", f"/images/{image['id']}", 404)


def test_documented_client_follows_a_batch(customers: Customers, customer: Customer, photo: Path) -> None:
    client = DocumentedClient(customers.service.api, customer.token)
    files = [("images[]", (f"photo{number}.jpg", photo.read_bytes())) for number in (1, 2, 3)]
    fields = {"scale_factor": 2, "name": "Product photos"}

    created = client.request("POST", "/batches", 202, files=files, data=fields)["data"]
    assert (created["total_images"], len(created["images"])) == (3, 3)
    batch = client.poll(f"/batches/{created['id']}", {"completed", "partially_failed", "failed", "cancelled"})

    assert (batch["status"], batch["progress"], batch["completed_images"]) == ("completed", 100, 3)
    assert {size_of(image["download_url"]) for image in batch["images"]} == {(192, 160)}
    assert batch["id"] in {one["id"] for one in client.request("GET", "/batches?status=all", 200)["data"]}
    client.request("DELETE", f"/batches/{batch['id']}", 200)


def test_documented_client_reads_the_account(customers: Customers) -> None:
    customer = customers.register_verified()
    client = DocumentedClient(customer.api, customer.token)

    assert client.request("GET", "/user", 200)["data"]["pricing_plan"]["slug"] == "enterprise"
    usage = client.request("GET", "/usage", 200)["data"]["image_uploads"]
    assert usage["used"] + usage["remaining"] == usage["limit"]
    assert client.request("GET", "/subscription", 200)["data"]["plan"]["slug"] == "enterprise"
    tokens = client.request("GET", "/user/tokens", 200)["data"]
    assert tokens["count"] == len(tokens["tokens"])
    client.request("POST", "/auth/logout", 200)
    client.request("GET", "/user", 401)
