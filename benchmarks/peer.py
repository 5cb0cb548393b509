"""A minimal ``GET /images/{id}`` in plain Flask and SQLAlchemy, for comparison.

It reads the same token and row from the same file and returns the same fields. It has no contract, limits, quota or log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

from flask import Flask, abort, request
from sqlalchemy import MetaData, create_engine, select

engine = create_engine(os.environ["PEER_DATABASE_URL"], pool_size=8)
tables = MetaData()
tables.reflect(engine, only=["tokens", "images"])
engine.dispose()
tokens, images = tables.tables["tokens"], tables.tables["images"]
app = Flask(__name__)


def _time(time: Any) -> str:
    return str(time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _size(count: int) -> str:
    return f"{count / 1024:.2f} KB"


@app.get("/api/images/<int:image_id>")
def get_image(image_id: int) -> dict[str, Any]:
    number, _, secret = request.headers.get("Authorization", "").removeprefix("Bearer ").partition("|")
    with engine.connect() as connection:
        token = connection.execute(
            select(tokens.c.account_id, tokens.c.secret_sha256).where(tokens.c.id == int(number or 0))
        ).one_or_none()
        digest = hashlib.sha256(secret[:40].encode()).hexdigest()
        if token is None or not hmac.compare_digest(token.secret_sha256, digest):
            abort(401)
        image = connection.execute(select(images).where(images.c.id == image_id)).one_or_none()
    if image is None or image.account_id != token.account_id:
        abort(404)
    return {
        "success": True,
        "message": "Image retrieved successfully",
        "data": {
            "id": image.id,
            "original_filename": image.original_filename,
            "original_path": f"images/{image.original_key}",
            "upscaled_path": image.result_key,
            "original_size": image.original_size,
            "upscaled_size": image.result_size,
            "original_size_human": _size(image.original_size),
            "upscaled_size_human": None,
            "original_dimensions": None,
            "upscaled_dimensions": None,
            "original_dimensions_formatted": None,
            "upscaled_dimensions_formatted": None,
            "status": image.status,
            "scale_factor": image.scale_factor,
            "target_width": image.target_width,
            "target_height": image.target_height,
            "progress": image.progress,
            "model": image.model,
            "device": image.device,
            "processing_time": image.processing_seconds,
            "api_request": bool(image.api_request),
            "download_url": None,
            "error": image.error,
            "created_at": _time(image.created_at),
            "updated_at": _time(image.updated_at),
        },
    }
