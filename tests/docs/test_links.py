"""The links of the contract, followed with the values of real responses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from project_root import ROOT

if TYPE_CHECKING:
    from tests.docs.conftest import Customer

DOCUMENT = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
METHODS = {"get", "post", "put", "patch", "delete"}
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
}


def test_links_lead_from_upload_to_deletion(customer: Customer, photo: Path) -> None:
    walk = LinkWalk(customer, "upscale_image", files={"image": ("photo.jpg", photo.read_bytes())})

    walk.follow("status")
    walk.wait_until_completed()
    walk.follow("download")
    assert walk.body["data"]["download_url"]
    walk.follow("delete")
    assert walk.operation == "delete_image"
    walk.request()
    assert walk.status == 404


def test_links_lead_from_batch_to_image(customer: Customer, photo: Path) -> None:
    walk = LinkWalk(customer, "create_batch", files={"images[]": photo.read_bytes()})

    walk.follow("status")
    walk.wait_until_completed()
    batch = walk.body["data"]["id"]
    walk.follow("image")
    assert walk.body["data"]["batch_id"] == batch
    walk.follow("download")
    assert walk.body["data"]["download_url"]


class LinkWalk:
    """A sequence of requests; the parameters of each come from the response before it."""

    def __init__(self, customer: Customer, operation: str, **options: Any) -> None:
        self._customer = customer
        self.operation = operation
        self._parameters: dict[str, Any] = {}
        self.request(**options)

    def request(self, **options: Any) -> None:
        method, path, _ = OPERATIONS[self.operation]
        response = self._customer.request(method, path.format(**self._parameters), **options)
        self.status, self.body = response.status_code, response.json()

    def wait_until_completed(self) -> None:
        while self.body["data"]["status"] != "completed":
            assert self.body["data"]["status"] in {"pending", "processing"}
            time.sleep(0.1)
            self.request()

    def follow(self, name: str) -> None:
        """Send the request that the link ``name`` of the last response describes."""
        link = OPERATIONS[self.operation][2]["responses"][str(self.status)]["links"][name]
        self._parameters = {
            parameter: self._evaluate(expression) for parameter, expression in link["parameters"].items()
        }
        self.operation = link["operationId"]
        self.request()

    def _evaluate(self, expression: str) -> Any:
        """Return the value of a runtime expression, https://spec.openapis.org/oas/v3.0.3#runtime-expressions."""
        source, _, rest = expression.partition("#/")
        if source == "$response.body":
            value = self.body
            for name in rest.split("/"):
                value = value[int(name) if isinstance(value, list) else name]
            return value
        return self._parameters[expression.removeprefix("$request.path.")]
