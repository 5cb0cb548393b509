"""Conversion of records to the objects of the contract's schemas."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from domain import images, quota
from domain.job_states import Status
from domain.records import SubscriptionStatus

if TYPE_CHECKING:
    from datetime import datetime

    from domain.plans import Plan
    from domain.quota import Usage
    from domain.records import Account, Batch, BatchWithImages, Image, Subscription, Token
    from domain.services import Services
    from domain.sizing import Size
    from domain.tokens import IssuedToken

_UNITS = ("KB", "MB", "GB", "TB")
_BASE = 1024


def time_text(time: datetime | None) -> str | None:
    """Return the time in ISO 8601 with microseconds and ``Z``."""
    # strftime would write the year 1 as "1", and an operator may set such an end.
    return None if time is None else time.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def human_size(size: int) -> str:
    """Return the size in base 1024 with at most two decimals and no trailing zeros: 8,194,304 → ``7.81 MB``."""
    if size < _BASE:
        return f"{size} B"
    value, (unit, *larger) = size / _BASE, _UNITS
    while round(value, 2) >= _BASE and larger:
        value, (unit, *larger) = value / _BASE, larger
    return f"{value:.2f}".rstrip("0").rstrip(".") + f" {unit}"


def accepted_image(image: Image) -> dict[str, Any]:
    """Return the shape of an image right after its upload; ``original_dimensions`` is None."""
    return {
        "id": image.id,
        **_batch_id(image),
        "original_filename": image.filename,
        "original_size": image.original_bytes,
        "original_size_human": human_size(image.original_bytes),
        "original_dimensions": None,
        "status": image.status.value,
        "scale_factor": image.sizing.scale_factor,
        "target_width": image.sizing.target_width,
        "target_height": image.sizing.target_height,
        "api_request": image.api_request,
        "created_at": time_text(image.created_at),
        "updated_at": time_text(image.updated_at),
    }


def full_image(services: Services, origin: str, image: Image) -> dict[str, Any]:
    """Return the shape of an image with all its fields, and a new signed link to its result.

    A field that has no value yet is None; the original's dimensions are None while the image is pending.
    """
    started = None if image.status is Status.PENDING else image.original_size
    result = image.result
    return {
        "id": image.id,
        **_batch_id(image),
        "original_filename": image.filename,
        "original_path": f"images/{image.original_key}",
        "upscaled_path": f"images/{result.key}" if result else None,
        "original_size": image.original_bytes,
        "upscaled_size": result.bytes if result else None,
        "original_size_human": human_size(image.original_bytes),
        "upscaled_size_human": human_size(result.bytes) if result else None,
        "original_dimensions": _dimensions(started, "x"),
        "upscaled_dimensions": _dimensions(result.size if result else None, "x"),
        "original_dimensions_formatted": _dimensions(started, " x "),
        "upscaled_dimensions_formatted": _dimensions(result.size if result else None, " x "),
        "status": image.status.value,
        "scale_factor": image.sizing.scale_factor,
        "target_width": image.sizing.target_width,
        "target_height": image.sizing.target_height,
        "progress": image.progress,
        "model": result.model if result else None,
        "device": result.device if result else None,
        "processing_time": result.seconds if result else None,
        "api_request": image.api_request,
        "download_url": absolute(origin, images.download_url(services, image)) if result else None,
        "error": image.error,
        "created_at": time_text(image.created_at),
        "updated_at": time_text(image.updated_at),
    }


def accepted_batch(whole: BatchWithImages) -> dict[str, Any]:
    """Return a batch right after its upload."""
    return _batch(whole.batch, [accepted_image(image) for image in whole.images])


def batch(services: Services, origin: str, whole: BatchWithImages) -> dict[str, Any]:
    """Return a batch with all fields of each image that is not deleted."""
    return _batch(whole.batch, [full_image(services, origin, image) for image in whole.images])


def user(origin: str, account: Account, plan: Plan) -> dict[str, Any]:
    """Return the shape of an account with its plan and the absolute URL of its initials."""
    return {
        "id": account.id,
        "name": account.name,
        "email": account.email,
        "email_verified_at": time_text(account.email_verified_at),
        "profile_photo_url": absolute(
            origin, f"/api/profile-photos/{quote(initials(account.name), safe='')}"
        ),
        "created_at": time_text(account.created_at),
        "updated_at": time_text(account.updated_at),
        "pricing_plan": {"id": plan.id, "name": plan.name, "slug": plan.slug},
    }


def token(token: Token) -> dict[str, Any]:
    """Return a token without its plain text."""
    return {
        "id": token.id,
        "name": token.name,
        "abilities": list(token.abilities),
        "last_used_at": time_text(token.last_used_at),
        "created_at": time_text(token.created_at),
    }


def created_token(issued: IssuedToken) -> dict[str, Any]:
    """Return a new token with its plain text, which is not stored."""
    return {
        "id": issued.token.id,
        "name": issued.token.name,
        "abilities": list(issued.token.abilities),
        "token": issued.plain,
        "token_type": "Bearer",
    }


def usage(used: Usage, plan: Plan) -> dict[str, Any]:
    """Return the shape of this month's usage; without a limit, ``limit`` is None and ``unlimited`` True."""
    return {
        "plan": plan.slug,
        "image_uploads": {
            "used": used.used,
            "limit": used.limit,
            "remaining": used.remaining,
            "unlimited": used.limit is None,
            "exceeded": used.exceeded,
            "percentage": used.percentage,
        },
        "features": list(plan.features),
    }


def plan(plan: Plan) -> dict[str, Any]:
    """Return the shape of a plan as it is offered, without an account's own limit."""
    return {
        "id": plan.id,
        "name": plan.name,
        "slug": plan.slug,
        "price": plan.price,
        "features": list(plan.features),
        "limits": _limits(plan),
    }


def subscription(subscription: Subscription, now: datetime) -> dict[str, Any]:
    """Return a subscription with its state at ``now``."""
    status = subscription.status_at(now)
    return {
        "id": subscription.id,
        "type": "default",
        "status": status.value,
        "quantity": 1,
        "trial_ends_at": time_text(subscription.trial_ends_at),
        "ends_at": time_text(subscription.ends_at),
        "created_at": time_text(subscription.created_at),
        "is_active": subscription.is_active(now),
        "is_on_trial": subscription.is_on_trial(now),
        "is_cancelled": status is SubscriptionStatus.CANCELLED,
        "is_on_grace_period": subscription.is_on_grace_period(now),
    }


def subscribed_plan(account: Account, plan: Plan) -> dict[str, Any]:
    """Return the plan with the account's own limit of images, if it has one."""
    own = replace(plan, images_per_month=quota.limit_of(account, plan))
    return {
        "name": own.name,
        "slug": own.slug,
        "price": own.price,
        "features": list(own.features),
        "limits": _limits(own),
    }


def initials(name: str) -> str:
    """Return the initials in capitals: of the first and the last word, or of the only one.

    A word without letters and digits is skipped; the result is ``?`` if none is left.
    """
    words = [[letter for letter in word if letter.isalnum()] for word in name.split()]
    firsts = [word[0].upper()[0] for word in words if word]
    return "".join([firsts[0], firsts[-1]] if len(firsts) > 1 else firsts) or "?"


def absolute(origin: str, url: str) -> str:
    """Return the URL with the origin if it is a path; links of an object store are absolute."""
    return f"{origin}{url}" if url.startswith("/") else url


def _batch(batch: Batch, shown_images: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the contract's shape of a batch, with these images."""
    return {
        "id": batch.id,
        "name": batch.name,
        "status": batch.status.value,
        "total_images": batch.state.total,
        "completed_images": batch.state.completed,
        "failed_images": batch.state.failed,
        "scale_factor": batch.sizing.scale_factor,
        "target_width": batch.sizing.target_width,
        "target_height": batch.sizing.target_height,
        "progress": batch.state.progress,
        "images": shown_images,
        "created_at": time_text(batch.created_at),
        "updated_at": time_text(batch.updated_at),
        "completed_at": time_text(batch.completed_at),
    }


def _batch_id(image: Image) -> dict[str, int]:
    """Return the member ``batch_id``, which only an image of a batch has."""
    return {} if image.batch_id is None else {"batch_id": image.batch_id}


def _limits(plan: Plan) -> list[dict[str, Any]]:
    """Return the contract's list of the plan's limits, in the plan's order."""
    return [{"name": limit.name, "value": limit.value} for limit in plan.limits]


def _dimensions(size: Size | None, separator: str) -> str | None:
    """Return width and height in pixels with the separator between them; None for a size that is unknown."""
    return None if size is None else f"{size.width}{separator}{size.height}"
