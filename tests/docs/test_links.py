"""The links of the contract, followed with what real answers say."""

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


def test_links_lead_from_the_upload_to_the_end(customer: Customer, photo: Path) -> None:
    way = Way(customer, "upscale_image", files={"image": ("photo.jpg", photo.read_bytes())})

    way.follow("status")
    way.wait()
    way.follow("download")
    assert way.body["data"]["download_url"]
    way.follow("delete")
    assert way.operation == "delete_image"
    way.ask()
    assert way.status == 404


def test_links_lead_from_a_batch_to_an_image(customer: Customer, photo: Path) -> None:
    way = Way(customer, "create_batch", files={"images[]": photo.read_bytes()})

    way.follow("status")
    way.wait()
    batch = way.body["data"]["id"]
    way.follow("image")
    assert way.body["data"]["batch_id"] == batch
    way.follow("download")
    assert way.body["data"]["download_url"]


class Way:
    """Asks one operation after the other; the parameters of each come out of the answer before it."""

    def __init__(self, customer: Customer, operation: str, **sent: Any) -> None:
        self._customer = customer
        self.operation = operation
        self._parameters: dict[str, Any] = {}
        self.ask(**sent)

    def ask(self, **sent: Any) -> None:
        method, path, _ = OPERATIONS[self.operation]
        answer = self._customer.ask(method, path.format(**self._parameters), **sent)
        self.status, self.body = answer.status_code, answer.json()

    def wait(self) -> None:
        while self.body["data"]["status"] != "completed":
            assert self.body["data"]["status"] in {"pending", "processing"}
            time.sleep(0.1)
            self.ask()

    def follow(self, name: str) -> None:
        link = OPERATIONS[self.operation][2]["responses"][str(self.status)]["links"][name]
        self._parameters = {
            parameter: self._value(expression) for parameter, expression in link["parameters"].items()
        }
        self.operation = link["operationId"]
        self.ask()

    def _value(self, expression: str) -> Any:
        """Of a runtime expression, https://spec.openapis.org/oas/v3.0.3#runtime-expressions."""
        source, _, rest = expression.partition("#/")
        if source == "$response.body":
            value = self.body
            for name in rest.split("/"):
                value = value[int(name) if isinstance(value, list) else name]
            return value
        return self._parameters[expression.removeprefix("$request.path.")]
