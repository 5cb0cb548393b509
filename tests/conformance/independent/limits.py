"""Quota, usage and subscription of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from independent.access import FEATURES
from independent.envelope import ApiError, Envelope
from independent.records import Success

if TYPE_CHECKING:
    from independent.records import Account, Caller, StoredImage


class Limits(Envelope):
    """The quota of each account, and the operations that show it."""

    def remaining(self, account: Account) -> int:
        """Return the number of images that the account may still upload."""
        return max(0, account.quota - account.used)

    def charge_quota(self, account: Account, count: int) -> None:
        """Charge images to the quota. Raise ``ApiError`` with 403 if fewer remain."""
        if self.remaining(account) < count:
            raise ApiError(403, "Your quota is used up.")
        account.used += count

    def refund_quota(self, image: StoredImage) -> None:
        """Refund an image that was not processed."""
        image.account.used -= 1

    def quota_headers(self, account: Account) -> dict[str, str]:
        """Return the headers that show the quota."""
        return {
            "X-RateLimit-Limit": str(account.quota),
            "X-RateLimit-Remaining": str(self.remaining(account)),
        }

    def show_usage(self, request: Any, caller: Caller) -> Success:
        """Show plan, quota and features."""
        account = caller.account
        uploads = self.usage_data(account)
        data = {"plan": account.plan, "image_uploads": uploads, "features": FEATURES[account.plan]}
        return Success("Usage statistics retrieved successfully", data)

    def usage_data(self, account: Account) -> dict[str, Any]:
        """Return the quota as the API shows it."""
        return {
            "used": account.used,
            "limit": account.quota,
            "remaining": self.remaining(account),
            "unlimited": False,
            "exceeded": self.remaining(account) == 0,
            "percentage": round(100 * account.used / account.quota, 1) if account.quota else 100.0,
        }

    def show_subscription(self, request: Any, caller: Caller) -> Success:
        """Show subscription and plan."""
        account = caller.account
        data = {"subscription": self.subscription_data(account), "plan": self.plan_data(account)}
        return Success("Subscription details retrieved successfully", data)

    def subscription_data(self, account: Account) -> dict[str, Any] | None:
        """Return the subscription as the API shows it, or None on the free plan."""
        if account.plan == "free":
            return None
        return {
            "id": account.id,
            "type": "default",
            "status": "active",
            "quantity": 1,
            "trial_ends_at": None,
            "ends_at": None,
            "created_at": self.time_text(account.created_at),
            "is_active": True,
            "is_on_trial": False,
            "is_cancelled": False,
            "is_on_grace_period": False,
        }

    def plan_data(self, account: Account) -> dict[str, Any]:
        """Return the plan as the API shows it."""
        return {
            "name": account.plan.title(),
            "slug": account.plan,
            "price": 99 if account.plan == "enterprise" else 0,
            "features": FEATURES[account.plan],
            "limits": [
                {"name": "images_per_month", "value": account.quota},
                {"name": "max_scale", "value": self.largest_factor},
            ],
        }
