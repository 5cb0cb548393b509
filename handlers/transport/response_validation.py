"""Connexion's response validation, for tests and staging, without the headers.

Outer middleware adds the headers, for errors too; tests check them from outside. A response to HEAD has no body to
validate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from connexion.middleware.response_validation import (
    ResponseValidationAPI,
    ResponseValidationMiddleware,
    ResponseValidationOperation,
)

from handlers.transport.contract import METHOD

if TYPE_CHECKING:
    from connexion.operations import AbstractOperation
    from starlette.types import ASGIApp, Receive, Scope, Send


class _Operation(ResponseValidationOperation):  # type: ignore[misc]  # Connexion is untyped
    @staticmethod
    def validate_required_headers(headers: list[Any], response_definition: dict[str, Any]) -> None:
        """Accept every response: its headers are not checked here."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Validate the response's body; a response to HEAD has none and is passed on."""
        app = self.next_app if scope["extensions"][METHOD] == "HEAD" else super().__call__
        await app(scope, receive, send)


class _Api(ResponseValidationAPI):  # type: ignore[misc]
    def make_operation(self, operation: AbstractOperation) -> ASGIApp:
        """Return the application that validates the bodies of the operation's responses.

        Return the inner application if validation is off.
        """
        if not self.validate_responses:
            return cast("ASGIApp", self.next_app)
        return _Operation(self.next_app, operation=operation, validator_map=self.validator_map)


class ResponseBodyValidation(ResponseValidationMiddleware):  # type: ignore[misc]
    """Validate response bodies if the API was added with ``validate_responses``."""

    api_cls = _Api
