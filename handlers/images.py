"""Operations of /images: submit, list, get, download and delete images."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from domain import images
from domain.job_states import Status
from handlers import shapes
from handlers.headers import location, poll_headers
from handlers.paging import ALL, paged
from handlers.request import origin, parsed_body, principal, services, uploads, upscale_options
from handlers.transport.envelope import Body, success

if TYPE_CHECKING:
    from collections.abc import Mapping


def upscale_image() -> tuple[Body, int, Mapping[str, str]]:
    """Create a pending image from the uploaded file, queue it, and respond with 202.

    Raise InvalidFields, QuotaExceeded and Unavailable, as ``images.submit`` does.
    """
    upload = next(iter(uploads("image")), None)
    image = images.submit(services(), principal().account, upload, upscale_options(), parsed_body().problems)
    body = success("Image uploaded and queued for processing", shapes.accepted_image(image))
    return body, HTTPStatus.ACCEPTED, {**location(f"/images/{image.id}"), **poll_headers(finished=False)}


def list_images(page: int, per_page: int, status: str) -> Body:
    """Respond with one page of the account's images, the newest first; ``status`` can be ``all``."""
    wanted = None if status == ALL else Status(status)
    listed = images.list_page(services(), principal().account, wanted, page, per_page)
    shown = [shapes.full_image(services(), origin(), image) for image in listed.images]
    return paged("Images retrieved successfully", shown, listed.total, page, per_page)


def get_image(id: int) -> tuple[Body, Mapping[str, str]]:  # noqa: A002  # the contract's name, as below
    """Respond with one image. Raise NotFound, also if it belongs to another account."""
    image = images.get(services(), principal().account, id)
    body = success("Image retrieved successfully", shapes.full_image(services(), origin(), image))
    return body, poll_headers(finished=image.job.status.is_terminal)


def download_image(id: int) -> Body:  # noqa: A002
    """Respond with a signed link to the result and its file name.

    Raise NotFound, and NotDownloadable without a result.
    """
    url, filename = images.download(services(), principal().account, id)
    data = {"download_url": shapes.absolute(origin(), url), "filename": filename}
    return success("Download URL generated successfully", data)


def delete_image(id: int) -> Body:  # noqa: A002
    """Delete an image and its files. Raise NotFound, also if it belongs to another account."""
    images.delete(services(), principal().account, id)
    return success("Image deleted successfully")
