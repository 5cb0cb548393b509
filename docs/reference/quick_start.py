"""Write the quick start of the contract as an Arazzo 1.0 workflow: upload, poll, download.

Usage: python docs/reference/quick_start.py OUTPUT

The steps follow the links of openapi.yaml: each operation, its parameters and its success status come from there. The
workflow reads ``photo.jpg`` beside it; its input is a token.
"""  # noqa: INP001

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from handlers.transport.contract import load_contract

SOURCE = "uprez"
FIRST = "upscale_image"
LINKS = ("status", "download")
"""Names of the links that lead from an upload to its download."""
POLL_SECONDS, POLL_LIMIT = 1, 120


def quick_start(document: dict[str, Any]) -> dict[str, Any]:
    """Return the workflow for this contract. Raise KeyError if a link is missing."""
    operations = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
        if isinstance(operation, dict) and "operationId" in operation
    }
    (status, response), *_ = operations[FIRST]["responses"].items()
    upload = _step(FIRST, status)
    upload["requestBody"] = {
        "contentType": next(iter(operations[FIRST]["requestBody"]["content"])),
        "payload": {"image": "$file('photo.jpg')"},
    }
    upload["outputs"] = {"id": "$response.body#/data/id"}
    steps = [upload]
    for name in LINKS:
        operation_id = response["links"][name]["operationId"]
        (status, response), *_ = operations[operation_id]["responses"].items()
        step = _step(operation_id, status)
        step["parameters"] = [{"in": "path", "name": "id", "value": f"$steps.{FIRST}.outputs.id"}]
        steps.append(step)
    poll, download = steps[1:]
    poll["successCriteria"].append({"condition": "$response.body#/data/status == 'completed'"})
    poll["onFailure"] = [
        {"name": "poll", "type": "retry", "retryAfter": POLL_SECONDS, "retryLimit": POLL_LIMIT}
    ]
    download["outputs"] = {"download_url": "$response.body#/data/download_url"}
    return {
        "arazzo": "1.0.1",
        "info": {"title": "Quick start of the Uprez API", "version": document["info"]["version"]},
        "sourceDescriptions": [{"name": SOURCE, "type": "openapi", "url": "openapi.json"}],
        "workflows": [
            {
                "workflowId": "quickStart",
                "summary": "Upload an image, poll its status and get the link to its result",
                "inputs": {
                    "type": "object",
                    "required": ["token"],
                    "properties": {"token": {"type": "string"}},
                },
                "parameters": [{"in": "header", "name": "Authorization", "value": "Bearer {$inputs.token}"}],
                "steps": steps,
            }
        ],
    }


def _step(operation_id: str, status: str) -> dict[str, Any]:
    """Return the step of this operation, which succeeds with this status."""
    return {
        "stepId": operation_id,
        "operationId": f"$sourceDescriptions.{SOURCE}.{operation_id}",
        "successCriteria": [{"condition": f"$statusCode == {status}"}],
    }


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    document = load_contract().document
    output.write_text(json.dumps(quick_start(document), indent=2), "utf-8")
    output.with_name("openapi.json").write_text(json.dumps(document), "utf-8")
