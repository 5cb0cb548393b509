"""Mutants of the AUTHZ requirements: ownership of records and abilities of tokens."""

from __future__ import annotations

from typing import Any

from independent.accounts import ABILITIES
from independent.envelope import ApiError
from independent.records import Account, Caller, Route, Success
from independent.server import MAX_JSON_BYTES, Server
from mutants import mutant


@mutant("user-shows-first-account", kills=["AUTHZ-001"])
class UserShowsFirstAccount(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        return Success("User retrieved successfully", self.user_data(self.accounts[1]))


@mutant("images-readable-across-accounts", kills=["AUTHZ-002"])
class ImagesReadableAcrossAccounts(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is None:
            raise self.not_found()
        return Success("Image retrieved successfully", self.image_data(image))


@mutant("foreign-image-returns-403", kills=["AUTHZ-002"])
class ForeignImageReturns403(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            raise ApiError(403, "This image is not yours.")
        return super().show_image(request, caller, number)


@mutant("foreign-image-has-distinct-message", kills=["AUTHZ-002"])
class ForeignImageHasDistinctMessage(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            raise ApiError(404, "You have no such image.")
        return super().show_image(request, caller, number)


@mutant("downloads-readable-across-accounts", kills=["AUTHZ-003"])
class DownloadsReadableAcrossAccounts(Server):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        return super().show_download(
            request, Caller(image.account, caller.token) if image else caller, number
        )


@mutant("images-deletable-across-accounts", kills=["AUTHZ-004"])
class ImagesDeletableAcrossAccounts(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        return super().delete_image(request, Caller(image.account, caller.token) if image else caller, number)


@mutant("denied-deletion-still-deletes", kills=["AUTHZ-004"])
class DeniedDeletionStillDeletes(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            self.remove_image(image)
        return super().delete_image(request, caller, number)


@mutant("image-list-across-accounts", kills=["AUTHZ-005"])
class ImageListAcrossAccounts(Server):
    def list_owned(self, records: dict[int, Any], account: Account) -> list[Any]:
        if records is self.images:
            return self.newest_first(list(records.values()))
        return super().list_owned(records, account)


@mutant("image-total-across-accounts", kills=["AUTHZ-005"])
class ImageTotalAcrossAccounts(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        success = super().list_images(request, caller)
        assert success.extra
        success.extra["meta"]["total"] = len(self.images)
        return success


@mutant("batches-readable-across-accounts", kills=["AUTHZ-006"])
class BatchesReadableAcrossAccounts(Server):
    def show_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.batches.get(number)
        return super().show_batch(request, Caller(batch.account, caller.token) if batch else caller, number)


@mutant("batch-list-across-accounts", kills=["AUTHZ-006"])
class BatchListAcrossAccounts(Server):
    def list_owned(self, records: dict[int, Any], account: Account) -> list[Any]:
        if records is self.batches:
            return self.newest_first(list(records.values()))
        return super().list_owned(records, account)


@mutant("batches-deletable-across-accounts", kills=["AUTHZ-007"])
class BatchesDeletableAcrossAccounts(Server):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.batches.get(number)
        return super().delete_batch(request, Caller(batch.account, caller.token) if batch else caller, number)


@mutant("tokens-revocable-across-accounts", kills=["AUTHZ-008"])
class TokensRevocableAcrossAccounts(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        owners = {token.id: token.account for token in self.tokens_by_secret.values()}
        owner = owners.get(number, caller.account)
        return super().delete_token(request, Caller(owner, caller.token), number)


@mutant("token-list-across-accounts", kills=["AUTHZ-009"])
class TokenListAcrossAccounts(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        tokens = self.newest_first(list(self.tokens_by_secret.values()))
        data = {"tokens": [self.token_data(token) for token in tokens], "count": len(tokens)}
        return Success("API tokens retrieved successfully", data)


@mutant("uploads-charged-to-first-account", kills=["AUTHZ-010"])
class UploadsChargedToFirstAccount(Server):
    def charge_quota(self, account: Account, count: int) -> None:
        super().charge_quota(self.accounts[1], count)


class HandsOutTokens(Server):
    """A server with Uprez's operation that creates tokens. It does not enforce the abilities of a token."""

    def routes(self) -> list[Route]:
        return [
            *super().routes(),
            Route("POST", "/user/tokens", self.create_token, "account", "json", MAX_JSON_BYTES),
        ]

    def create_token(self, request: Any, caller: Caller, fields: dict[str, Any]) -> Success:
        token = self.issue_token(caller.account, fields["name"])
        return Success("Created", {"token": token, "abilities": fields.get("abilities", ABILITIES)}, 201)


@mutant("abilities-not-enforced", kills=["AUTHZ-011"])
class AbilitiesNotEnforced(HandsOutTokens):
    pass


@mutant("abilities-can-be-escalated", kills=["AUTHZ-012"])
class AbilitiesCanBeEscalated(HandsOutTokens):
    pass
