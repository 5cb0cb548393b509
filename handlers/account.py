"""Operations of /user, /usage and /subscription: the account, its tokens, its usage and its subscription."""

from __future__ import annotations

from http import HTTPStatus

from domain import quota, tokens
from handlers import shapes
from handlers.request import origin, parsed_body, principal, services
from handlers.transport.envelope import Body, success


def get_user() -> Body:
    """Respond with the account of the token."""
    account = principal().account
    return success(
        "User retrieved successfully", shapes.user(origin(), account, services().plans[account.plan])
    )


def list_tokens() -> Body:
    """Respond with all tokens of the account, without their plain text, and their number."""
    shown = [shapes.token(token) for token in tokens.list_for_account(services(), principal().account)]
    return success("API tokens retrieved successfully", {"tokens": shown, "count": len(shown)})


def create_token() -> tuple[Body, int]:
    """Create a token with some or all abilities of the current one, and respond with 201 and its plain text.

    Raise InvalidFields.
    """
    body = parsed_body()
    issued = tokens.create(services(), principal(), body.fields, body.problems)
    return success("API token created successfully", shapes.created_token(issued)), HTTPStatus.CREATED


def revoke_token(id: int) -> Body:  # noqa: A002  # the contract's name
    """Revoke one token of the account, which may be the current one.

    Raise NotFound, also for another account's token.
    """
    tokens.revoke(services(), principal().account, id)
    return success("Token revoked successfully")


def get_usage() -> Body:
    """Respond with this month's uploads and their limit, read from the database, and the plan's features."""
    account = principal().account
    used = quota.this_month(services(), account)
    return success(
        "Usage statistics retrieved successfully", shapes.usage(used, services().plans[account.plan])
    )


def get_subscription() -> Body:
    """Respond with the subscription, null if there never was one, and the plan with the account's own limit."""
    account, now = principal().account, services().clock.now()
    plan = services().plans[account.plan]
    return success(
        "Subscription details retrieved successfully",
        {
            "subscription": account.subscription and shapes.subscription(account.subscription, now),
            "plan": shapes.subscribed_plan(account, plan),
        },
    )
