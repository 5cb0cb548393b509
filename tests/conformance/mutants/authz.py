"""Servers that mix up whose things are whose."""

from __future__ import annotations

from typing import Any

from independent.records import Account
from independent.server import ABILITIES, JSON_CAP, Caller, Refused, Route, Server, Success
from mutants import mutant


@mutant("everybody-is-the-first-account", kills=["AUTHZ-001"])
class EverybodyIsTheFirstAccount(Server):
    def show_user(self, request: Any, caller: Caller) -> Success:
        return Success("User retrieved successfully", self.user_data(self.accounts[1]))


@mutant("images-are-everybodys", kills=["AUTHZ-002"])
class ImagesAreEverybodys(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is None:
            raise self.not_found()
        return Success("Image retrieved successfully", self.image_data(image))


@mutant("somebody-elses-image-is-forbidden", kills=["AUTHZ-002"])
class SomebodyElsesImageIsForbidden(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            raise Refused(403, "This image is not yours.")
        return super().show_image(request, caller, number)


@mutant("somebody-elses-image-is-told-apart", kills=["AUTHZ-002"])
class SomebodyElsesImageIsToldApart(Server):
    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            raise Refused(404, "You have no such image.")
        return super().show_image(request, caller, number)


@mutant("downloads-are-everybodys", kills=["AUTHZ-003"])
class DownloadsAreEverybodys(Server):
    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        return super().show_download(
            request, Caller(image.account, caller.token) if image else caller, number
        )


@mutant("deletions-are-everybodys", kills=["AUTHZ-004"])
class DeletionsAreEverybodys(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        return super().delete_image(request, Caller(image.account, caller.token) if image else caller, number)


@mutant("a-refused-deletion-deletes", kills=["AUTHZ-004"])
class RefusedDeletionDeletes(Server):
    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.images.get(number)
        if image is not None and image.account is not caller.account:
            self.forget(image)
        return super().delete_image(request, caller, number)


@mutant("the-list-of-images-is-everybodys", kills=["AUTHZ-005"])
class ListOfImagesIsEverybodys(Server):
    def listed(self, things: dict[int, Any], account: Account) -> list[Any]:
        if things is self.images:
            return self.newest_first(list(things.values()))
        return super().listed(things, account)


@mutant("the-total-counts-everybodys-images", kills=["AUTHZ-005"])
class TotalCountsEverybodysImages(Server):
    def list_images(self, request: Any, caller: Caller) -> Success:
        success = super().list_images(request, caller)
        assert success.beside
        success.beside["meta"]["total"] = len(self.images)
        return success


@mutant("batches-are-everybodys", kills=["AUTHZ-006"])
class BatchesAreEverybodys(Server):
    def show_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.batches.get(number)
        return super().show_batch(request, Caller(batch.account, caller.token) if batch else caller, number)


@mutant("the-list-of-batches-is-everybodys", kills=["AUTHZ-006"])
class ListOfBatchesIsEverybodys(Server):
    def listed(self, things: dict[int, Any], account: Account) -> list[Any]:
        if things is self.batches:
            return self.newest_first(list(things.values()))
        return super().listed(things, account)


@mutant("batches-are-deleted-by-everybody", kills=["AUTHZ-007"])
class BatchesAreDeletedByEverybody(Server):
    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.batches.get(number)
        return super().delete_batch(request, Caller(batch.account, caller.token) if batch else caller, number)


@mutant("tokens-are-revoked-by-everybody", kills=["AUTHZ-008"])
class TokensAreRevokedByEverybody(Server):
    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        owners = {token.id: token.account for token in self.tokens_by_secret.values()}
        owner = owners.get(number, caller.account)
        return super().delete_token(request, Caller(owner, caller.token), number)


@mutant("the-list-of-tokens-is-everybodys", kills=["AUTHZ-009"])
class ListOfTokensIsEverybodys(Server):
    def list_tokens(self, request: Any, caller: Caller) -> Success:
        tokens = self.newest_first(list(self.tokens_by_secret.values()))
        data = {"tokens": [self.token_data(token) for token in tokens], "count": len(tokens)}
        return Success("API tokens retrieved successfully", data)


@mutant("uploads-are-paid-by-the-first-account", kills=["AUTHZ-010"])
class UploadsArePaidByTheFirstAccount(Server):
    def take(self, account: Account, count: int) -> None:
        super().take(self.accounts[1], count)


class HandsOutTokens(Server):
    """With the operation of Uprez's that makes tokens of fewer abilities, and abilities that mean nothing."""

    def routes(self) -> list[Route]:
        return [
            *super().routes(),
            Route("POST", "/user/tokens", self.create_token, "account", "json", JSON_CAP),
        ]

    def create_token(self, request: Any, caller: Caller, given: dict[str, Any]) -> Success:
        token = self.issue_token(caller.account, given["name"])
        return Success("Created", {"token": token, "abilities": given.get("abilities", ABILITIES)}, 201)


@mutant("abilities-are-words-only", kills=["AUTHZ-011"])
class AbilitiesAreWordsOnly(HandsOutTokens):
    pass


@mutant("abilities-grow", kills=["AUTHZ-012"])
class AbilitiesGrow(HandsOutTokens):
    pass
