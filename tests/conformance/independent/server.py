"""A small server that keeps the contract. To break one thing, override one method."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import re
import secrets
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote, urlencode

import bottle
from PIL import Image

from independent import forms, pictures
from independent.http import Connections
from independent.records import Account, Response, Sizing, StoredBatch, StoredImage, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from independent.forms import Part
    from independent.pictures import Film

    Made = Account | Token | StoredImage | StoredBatch

ABILITIES = ["images:read", "images:write", "images:delete", "user:read"]
FEATURES = {"enterprise": ["api_access", "batches", "priority_support"], "free": []}
IMAGE_STATUSES = ("pending", "processing", "completed", "failed")
BATCH_STATUSES = ("pending", "processing", "completed", "partially_failed", "failed", "cancelled")
KIB, MIB = 1024, 1024 * 1024
JSON_CAP, UPLOAD_CAP, BATCH_CAP, FILE_CAP = 64 * KIB, 11 * MIB, 205 * MIB, 10 * MIB
LARGEST_SIDE, LARGEST_RESULT = 16_384, 268_435_456
MOST_FILES, MOST_PER_PAGE, LONGEST_TEXT = 20, 100, 255
EXTENSIONS = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",), "webp": (".webp",),
    "bmp": (".bmp", ".dib"), "tiff": (".tiff", ".tif"), "gif": (".gif",),
}  # fmt: skip
Errors = dict[str, list[str]]


class Refused(Exception):
    """The answer is an error."""

    def __init__(self, status: int, message: str, errors: Errors | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Success:
    """``beside``: what stands in the envelope beside `data`, in a list."""

    message: str
    data: Any = None
    status: int = 200
    beside: dict[str, Any] | None = None


@dataclass(frozen=True)
class Route:
    """``access``: public, account, images or batches. ``body``: json, form or nothing that is looked at."""

    method: str
    path: str
    handler: Callable[..., Success]
    access: str
    body: str = ""
    cap: int = 0


@dataclass
class Caller:
    account: Account
    token: Token


class Server:
    """``with Server() as server``: two accounts are there, the first with ``email`` and ``password``.

    ``slow``: seconds before each answer. ``throttle``: every so many-th request with a token is answered with 429.
    ``key_order``: "reversed". ``extra``: fields, headers and a charset that nobody has asked for.
    """

    email, password = "ann@example.com", "Correct1Horse"
    other_email = "bob@example.com"
    largest_factor = 4  # of every plan

    def __init__(
        self,
        *,
        work_seconds: float = 0.02,
        slow: float = 0,
        throttle: int = 0,
        retry_after: int = 0,
        key_order: str = "",
        extra: bool = False,
        quota: int = 100_000,
        unauthenticated_per_hour: int = 1_000_000,
        link_seconds: int = 3600,
    ) -> None:
        self.work_seconds, self.slow = work_seconds, slow
        self.throttle, self.retry_after = throttle, retry_after
        self.key_order, self.extra = key_order, extra
        self.quota, self.unauthenticated_per_hour = quota, unauthenticated_per_hour
        self.link_seconds = link_seconds
        self.lock = threading.RLock()
        self.secret = secrets.token_bytes(32)
        self.last_ids: dict[str, int] = {}
        self.with_token = self.without_token = 0
        self.accounts: dict[int, Account] = {}
        self.tokens_by_secret: dict[str, Token] = {}
        self.images: dict[int, StoredImage] = {}
        self.batches: dict[int, StoredBatch] = {}
        self.work: queue.Queue[StoredImage | None] = queue.Queue()
        self.stopped = threading.Event()
        owners = [
            self.new_account(name, email, self.password, plan="enterprise", verified=True)
            for name, email in (("Ann Example", self.email), ("Bob Example", self.other_email))
        ]
        self.tokens = [self.issue_token(account, "conformance") for account in owners]

    # Starting and stopping

    def __enter__(self) -> Self:
        self.connections = Connections(self.application())
        self.base_url = f"http://127.0.0.1:{self.connections.server_port}/api"
        serve = partial(self.connections.serve_forever, poll_interval=0.02)
        self.threads = [threading.Thread(target=target, daemon=True) for target in (serve, self.work_off)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.work.put(None)
        self.connections.shutdown()
        self.connections.server_close()
        for thread in self.threads:
            thread.join()

    def application(self) -> Callable[..., Any]:
        """WSGI."""
        app = bottle.Bottle()
        app.default_error_handler = self.bottles_error
        for route in self.routes():
            app.route(f"/api{route.path}", route.method, partial(self.serve, route))
        return app

    def routes(self) -> list[Route]:
        number = "<number:re:[1-9][0-9]*>"
        return [
            Route("POST", "/auth/register", self.register, "public", "json", JSON_CAP),
            Route("POST", "/auth/login", self.login, "public", "json", JSON_CAP),
            Route("POST", "/auth/logout", self.logout, "account"),
            Route("POST", "/auth/revoke-all", self.log_out_everywhere, "account"),
            Route("GET", "/user", self.show_user, "account"),
            Route("GET", "/usage", self.show_usage, "account"),
            Route("GET", "/subscription", self.show_subscription, "account"),
            Route("GET", "/user/tokens", self.list_tokens, "account"),
            Route("DELETE", f"/user/tokens/{number}", self.delete_token, "account"),
            Route("POST", "/images/upscale", self.upload_image, "images", "form", UPLOAD_CAP),
            Route("GET", "/images", self.list_images, "images"),
            Route("GET", f"/images/{number}", self.show_image, "images"),
            Route("DELETE", f"/images/{number}", self.delete_image, "images"),
            Route("GET", f"/images/{number}/download", self.show_download, "images"),
            Route("POST", "/batches", self.upload_batch, "batches", "form", BATCH_CAP),
            Route("GET", "/batches", self.list_batches, "batches"),
            Route("GET", f"/batches/{number}", self.show_batch, "batches"),
            Route("DELETE", f"/batches/{number}", self.delete_batch, "batches"),
            Route("GET", f"/results/{number}", self.fetch_result, "link"),
        ]

    # One request

    def serve(self, route: Route, **parts: str) -> bottle.HTTPResponse:
        request = bottle.request
        time.sleep(self.slow)
        numbers = {name: int(value) for name, value in parts.items()}
        caller = None
        try:
            if route.access == "link":
                response = self.fetch_result(request, **numbers)
            elif route.access == "public":
                self.count_public(request)
                response = self.success(self.handle(route, request, None, numbers))
            else:
                caller = self.authenticate(request)
                self.count_with_token(caller)
                self.permit(route, caller)
                response = self.success(self.handle(route, request, caller, numbers))
        except Refused as refused:
            response = self.error(refused)
        if caller and route.access in {"images", "batches"}:
            response.headers.update(self.quota_headers(caller.account))
        return self.send(request, response)

    def handle(self, route: Route, request: Any, caller: Caller | None, numbers: dict[str, int]) -> Success:
        body = {"json": self.json_body, "form": self.form_body}.get(route.body)
        given = [body(request, route.cap)] if body else []
        with self.lock:
            if caller is None:
                return route.handler(request, *given)
            return route.handler(request, caller, *given, **numbers)

    def bottles_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        """Unknown routes, wrong methods, crashes."""
        messages = {404: "Not found.", 405: "Method not allowed.", 400: "The request is malformed."}
        status = error.status_code
        refused = Refused(status, messages.get(status, "Server error"))
        if status == 405:
            refused.headers["Allow"] = self.allowed(error.headers["Allow"])
        made = self.send(bottle.request, self.error(refused))
        bottle.response.status = made.status
        bottle.response.headers.clear()
        for name, value in made.headers.items():
            bottle.response.set_header(name, value)
        return made.body

    def allowed(self, methods: str) -> str:
        return ", ".join(sorted(set(methods.replace(" ", "").split(","))))

    def send(self, request: Any, response: Response) -> bottle.HTTPResponse:
        response.headers = {**self.common_headers(), **response.headers}
        self.after(request, response)
        return bottle.HTTPResponse(response.body, response.status, response.headers)

    def after(self, request: Any, response: Response) -> None:
        """For mutants: the last look at every answer."""

    # The envelope

    def success(self, success: Success) -> Response:
        body = self.envelope(success=True, message=success.message)
        if success.data is not None:
            body["data"] = self.with_extras(success.data)
        return self.json_response(success.status, body | (success.beside or {}))

    def error(self, refused: Refused) -> Response:
        body = self.envelope(success=False, message=refused.message)
        if refused.errors is not None:
            body["errors"] = refused.errors
        response = self.json_response(refused.status, body)
        response.headers.update(refused.headers)
        return response

    def envelope(self, *, success: bool, message: str) -> dict[str, Any]:
        return {"success": success, "message": message}

    def json_response(self, status: int, body: dict[str, Any]) -> Response:
        ordered = _reversed(body) if self.key_order == "reversed" else body
        return Response(status, {"Content-Type": self.json_type()}, json.dumps(ordered).encode())

    def json_type(self) -> str:
        return "application/json; charset=utf-8" if self.extra else "application/json"

    def with_extras(self, data: Any) -> Any:
        if not self.extra:
            return data
        if isinstance(data, list):
            return [self.with_extras(item) for item in data]
        if isinstance(data, dict):
            return {name: self.with_extras(value) for name, value in data.items()} | {"x_note": "hello"}
        return data

    def common_headers(self) -> dict[str, str]:
        headers = {
            "X-Request-Id": self.request_id(),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Server": "small",  # the library would tell its version
        }
        return headers | ({"X-Note": "hello", "Vary": "Accept", "X-Powered-By": "tea"} if self.extra else {})

    def request_id(self) -> str:
        return secrets.token_hex(8)

    def quota_headers(self, account: Account) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(account.quota),
            "X-RateLimit-Remaining": str(self.remaining(account)),
        }

    # Clock and ids

    def now(self) -> datetime:
        return datetime.now(UTC)

    def time_text(self, moment: datetime | None) -> str | None:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None

    def new_id(self, kind: str) -> int:
        self.last_ids[kind] = self.last_ids.get(kind, 0) + 1
        return self.last_ids[kind]

    # Who asks

    def authenticate(self, request: Any) -> Caller:
        token = self.token_of(request)
        if token is None:
            self.count_without_token()
            raise self.unauthenticated("Unauthenticated.")
        self.touch(token)
        return Caller(token.account, token)

    def token_of(self, request: Any) -> Token | None:
        scheme, _, secret = request.get_header("Authorization", "").partition(" ")
        return self.find_token(secret.strip()) if scheme.lower() == "bearer" else None

    def unauthenticated(self, message: str) -> Refused:
        return Refused(401, message, WWW_Authenticate=self.challenge())

    def challenge(self) -> str:
        return "Bearer"

    def find_token(self, secret: str) -> Token | None:
        return self.tokens_by_secret.get(secret)

    def touch(self, token: Token) -> None:
        token.last_used_at = self.now()

    def count_without_token(self) -> None:
        with self.lock:
            self.without_token += 1
            if self.without_token > self.unauthenticated_per_hour:
                raise self.too_many(3600)

    def count_public(self, request: Any) -> None:
        """Whoever has a token is not counted among those without one, where none is needed."""
        if self.token_of(request) is None:
            self.count_without_token()

    def count_with_token(self, caller: Caller) -> None:
        with self.lock:
            self.with_token += 1
            if self.throttle and self.with_token % self.throttle == 0:
                raise self.too_many(self.retry_after)

    def too_many(self, seconds: int) -> Refused:
        return Refused(429, "Too many requests.", Retry_After=str(seconds))

    def permit(self, route: Route, caller: Caller) -> None:
        """Raises Refused for what the account may not do."""
        if route.access in {"images", "batches"} and not self.is_verified(caller.account):
            raise Refused(403, "Your e-mail address is not verified.")
        if route.access == "batches" and "batches" not in FEATURES[caller.account.plan]:
            raise Refused(403, "Your plan has no batches.")

    def is_verified(self, account: Account) -> bool:
        return account.verified_at is not None

    def owned(self, things: dict[int, Any], number: int, account: Account) -> Any:
        """Raises the same 404 for what is not there and for what is somebody else's."""
        thing = things.get(number)
        if thing is None or not self.may_see(account, thing):
            raise self.not_found()
        return thing

    def may_see(self, account: Account, thing: Any) -> bool:
        return thing.account is account

    def not_found(self) -> Refused:
        return Refused(404, "Not found.")

    # What is sent

    def json_body(self, request: Any, cap: int) -> dict[str, Any]:
        body = self.body(request, cap, "application/json")
        value = self.parse_json(body)
        if not isinstance(value, dict):
            raise self.invalid({"body": ["It has to be an object."]})
        return value

    def form_body(self, request: Any, cap: int) -> list[Part]:
        return self.parse_form(request.content_type, self.body(request, cap, "multipart/form-data"))

    def body(self, request: Any, cap: int, wanted_type: str) -> bytes:
        if request.content_length > cap:
            raise self.too_large()
        if not self.is_of_type(request.environ.get("CONTENT_TYPE", ""), wanted_type):
            raise Refused(415, "Unsupported media type.")
        with closing(request.body) as stream:
            content: bytes = stream.read()
        if len(content) > cap:
            raise self.too_large()
        return content

    def is_of_type(self, content_type: str, wanted: str) -> bool:
        return forms.media_type(content_type) == wanted

    def too_large(self) -> Refused:
        return Refused(413, "The request is too large.")

    def parse_json(self, body: bytes) -> Any:
        try:
            return forms.json_value(body)
        except forms.Malformed:
            raise self.malformed() from None

    def parse_form(self, content_type: str, body: bytes) -> list[Part]:
        try:
            return forms.form(content_type, body)
        except forms.Malformed:
            raise self.malformed() from None

    def malformed(self) -> Refused:
        return Refused(400, "The request is malformed.")

    def invalid(self, errors: Errors) -> Refused:
        return Refused(422, "Validation failed", errors)

    # Accounts

    def register(self, request: Any, given: dict[str, Any]) -> Success:
        known = {"name", "email", "password", "password_confirmation", "device_name"}
        errors = self.text_errors(given, known, optional={"device_name"})
        self.check_new_account(given, errors)
        if errors:
            raise self.invalid(errors)
        account = self.new_account(given["name"], given["email"], given["password"], plan="free")
        return Success("Registered. Please verify your address.", self.issued(request, account, given), 201)

    def check_new_account(self, given: dict[str, Any], errors: Errors) -> None:
        if "name" not in errors and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in given["name"]):
            errors["name"] = ["The name has to be one line."]
        if "email" not in errors:
            if not self.is_address(given["email"]):
                errors["email"] = ["The email must be a valid address."]
            elif self.account_of(given["email"]):
                errors["email"] = ["The email has already been taken."]
        if "password" not in errors:
            found = self.weaknesses(given["password"])
            if given["password"] != given.get("password_confirmation", given["password"]):
                found.append("The password confirmation does not match.")
            if found:
                errors["password"] = found

    def is_address(self, email: str) -> bool:
        return re.fullmatch(r"[^@\s.,;<>\"]+(\.[^@\s.,;<>\"]+)*@([\w-]+\.)+\w{2,}", email) is not None

    def weaknesses(self, password: str) -> list[str]:
        rules = [
            (len(password) >= 8, "The password must be at least 8 characters."),
            (password.lower() != password and password.upper() != password, "It must be of mixed case."),
            (any(c.isdecimal() for c in password), "The password must contain a number."),
        ]
        return [sentence for holds, sentence in rules if not holds]

    def login(self, request: Any, given: dict[str, Any]) -> Success:
        errors = self.text_errors(given, {"email", "password", "device_name"}, optional={"device_name"})
        if errors:
            raise self.invalid(errors)
        account = self.account_of(given["email"])
        if account is None or not self.password_is_right(account, given["password"]):
            raise self.unauthenticated(self.login_refusal(account))
        if not self.is_verified(account):
            raise Refused(403, "Your e-mail address is not verified.")
        return Success("Login successful", self.issued(request, account, given))

    def login_refusal(self, account: Account | None) -> str:
        return "The credentials are wrong."

    def password_is_right(self, account: Account, password: str) -> bool:
        return hmac.compare_digest(account.password.encode(), password.encode())

    def account_of(self, email: str) -> Account | None:
        return next((one for one in self.accounts.values() if one.email == self.normal(email)), None)

    def normal(self, email: str) -> str:
        return email.strip().lower()

    def text_errors(self, given: dict[str, Any], known: set[str], optional: set[str]) -> Errors:
        errors = self.unknown_fields(given, known)
        for name in sorted(known):
            value, longest = given.get(name), 1024 if name.startswith("password") else LONGEST_TEXT
            if value is None and name in optional:
                continue
            if value is None or value == "":
                if name not in optional:
                    errors[name] = [f"The {name} field is required."]
            elif not isinstance(value, str) or len(value) > longest:
                errors[name] = [f"The {name} must be text of at most {longest} characters."]
        return errors

    def unknown_fields(self, given: Iterable[str], known: set[str]) -> Errors:
        return {name: ["There is no such field."] for name in given if name not in known}

    def new_account(
        self, name: str, email: str, password: str, *, plan: str, verified: bool = False
    ) -> Account:
        now = self.now()
        account = Account(
            self.new_id("account"), name, self.normal(email), password, plan, now,
            verified_at=now if verified else None, quota=self.quota if plan == "enterprise" else 2,
        )  # fmt: skip
        self.accounts[account.id] = account
        return account

    def issued(self, request: Any, account: Account, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("device_name") or request.get_header("User-Agent", "")[:LONGEST_TEXT] or "unnamed"
        token = self.issue_token(account, name)
        return {"user": self.user_data(account), "token": token, "token_type": "Bearer"}

    def issue_token(self, account: Account, name: str) -> str:
        number = self.new_id("token")
        secret = f"{number}|{secrets.token_urlsafe(30)}"
        self.tokens_by_secret[secret] = Token(number, account, name, secret, self.now())
        return secret

    def revoke(self, token: Token) -> None:
        self.tokens_by_secret.pop(token.secret, None)

    def tokens_of(self, account: Account) -> list[Token]:
        found = [token for token in self.tokens_by_secret.values() if token.account is account]
        return self.newest_first(found)

    def logout(self, request: Any, caller: Caller) -> Success:
        self.revoke(caller.token)
        return Success("Logout successful")

    def log_out_everywhere(self, request: Any, caller: Caller) -> Success:
        for token in self.tokens_of(caller.account):
            self.revoke(token)
        return Success("All tokens revoked successfully")

    def list_tokens(self, request: Any, caller: Caller) -> Success:
        found = [self.token_data(token) for token in self.tokens_of(caller.account)]
        return Success("API tokens retrieved successfully", {"tokens": found, "count": len(found)})

    def token_data(self, token: Token) -> dict[str, Any]:
        return {
            "id": token.id,
            "name": token.name,
            "abilities": ABILITIES,
            "last_used_at": self.time_text(token.last_used_at),
            "created_at": self.time_text(token.created_at),
        }

    def delete_token(self, request: Any, caller: Caller, number: int) -> Success:
        valid = {token.id: token for token in self.tokens_by_secret.values()}
        self.revoke(self.owned(valid, number, caller.account))
        return Success("Token revoked successfully")

    def show_user(self, request: Any, caller: Caller) -> Success:
        return Success("User retrieved successfully", self.user_data(caller.account))

    def user_data(self, account: Account) -> dict[str, Any]:
        return {
            "id": account.id,
            "name": account.name,
            "email": account.email,
            "email_verified_at": self.time_text(account.verified_at),
            "profile_photo_url": "https://example.com/somebody.png",
            "created_at": self.time_text(account.created_at),
            "updated_at": self.time_text(account.verified_at or account.created_at),
            "pricing_plan": {
                "id": 4 if account.plan == "enterprise" else 1,
                "name": account.plan.title(),
                "slug": account.plan,
            },
        }

    def show_usage(self, request: Any, caller: Caller) -> Success:
        account = caller.account
        uploads = self.usage_data(account)
        data = {"plan": account.plan, "image_uploads": uploads, "features": FEATURES[account.plan]}
        return Success("Usage statistics retrieved successfully", data)

    def usage_data(self, account: Account) -> dict[str, Any]:
        return {
            "used": account.used,
            "limit": account.quota,
            "remaining": self.remaining(account),
            "unlimited": False,
            "exceeded": self.remaining(account) == 0,
            "percentage": round(100 * account.used / account.quota, 1) if account.quota else 100.0,
        }

    def show_subscription(self, request: Any, caller: Caller) -> Success:
        account = caller.account
        data = {"subscription": self.subscription_data(account), "plan": self.plan_data(account)}
        return Success("Subscription details retrieved successfully", data)

    def subscription_data(self, account: Account) -> dict[str, Any] | None:
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

    # Quota

    def remaining(self, account: Account) -> int:
        return max(0, account.quota - account.used)

    def take(self, account: Account, count: int) -> None:
        if self.remaining(account) < count:
            raise Refused(403, "Your quota is used up.")
        account.used += count

    def give_back(self, image: StoredImage) -> None:
        image.account.used -= 1

    # Uploads

    def upload_image(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        fields = {"image", "scale_factor", "target_width", "target_height"}
        errors = self.form_errors(parts, fields, file_field="image")
        sizing = self.sizing(parts, errors)
        files = [part for part in parts if part.name == "image"]
        film = None
        if "image" not in errors and self.has_file(files, "image", errors):
            film = self.read_picture(files[0], "image", errors)
        if film and not self.sizing_errors(errors):
            errors |= self.size_errors(film, sizing)
        if errors or film is None:
            raise self.invalid(errors)
        self.take(caller.account, 1)
        image = self.store_image(caller.account, files[0], film, sizing)
        return Success("Image uploaded and queued for processing", self.uploaded_data(image), 202)

    def has_file(self, files: list[Part], name: str, errors: Errors) -> bool:
        if not files or (not files[0].filename and not files[0].content):
            errors[name] = [f"The {name} field is required."]
        return bool(files) and name not in errors

    def form_errors(self, parts: list[Part], known: set[str], file_field: str) -> Errors:
        """Unknown fields, repeated ones, text for files and files for text."""
        errors = self.unknown_fields([part.name for part in parts], known)
        for name in known:
            found = [part for part in parts if part.name == name]
            shown = name.removesuffix("[]")
            if len(found) > 1 and not name.endswith("[]"):
                errors[shown] = [f"The {shown} field is given twice."]
            elif any(part.content and (part.filename is not None) != (name == file_field) for part in found):
                kind = "a file" if name == file_field else "text"
                errors[shown] = [f"The {shown} must be {kind}."]
        return errors

    def read_picture(self, part: Part, name: str, errors: Errors) -> Film | None:
        if len(part.content) > self.largest_file():
            errors[name] = ["The image must not be greater than 10240 kilobytes."]
            return None
        if pictures.format_of(part.content) is None:
            errors[name] = ["The image must be a file of type: jpeg, png, webp, bmp, tiff, gif."]
            return None
        try:
            return self.decode(part.content)
        except pictures.Unreadable as reason:
            errors[name] = [str(reason)]
            return None

    def largest_file(self) -> int:
        return FILE_CAP

    def decode(self, content: bytes) -> Film:
        """Raises pictures.Unreadable."""
        return pictures.read(content)

    def sizing(self, parts: list[Part], errors: Errors) -> Sizing:
        """Adds to ``errors`` what is wrong whatever the picture."""
        bounds = {
            "scale_factor": (2, self.largest_factor),
            "target_width": (1, LARGEST_SIDE),
            "target_height": (1, LARGEST_SIDE),
        }
        given = Sizing()
        for part in parts:
            if part.name in bounds and part.name not in errors and part.content:
                low, high = bounds[part.name]
                number = self.whole_number(part.text)
                if number is None or not low <= number <= high:
                    errors[part.name] = [f"It must be a whole number between {low} and {high}."]
                else:
                    setattr(given, part.name, number)
        if given.scale_factor and (given.target_width or given.target_height):
            errors["scale_factor"] = self.both_asked()
        if given.target_width is None and given.target_height is None and given.scale_factor is None:
            given.scale_factor = self.default_factor()
        return given

    def default_factor(self) -> int:
        return 2

    def both_asked(self) -> list[str]:
        return ["The scale factor does not go together with a target."]

    def whole_number(self, text: str) -> int | None:
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else None

    def sizing_errors(self, errors: Errors) -> bool:
        return bool({"scale_factor", "target_width", "target_height"} & set(errors))

    def size_errors(self, film: Film, sizing: Sizing) -> Errors:
        """What does not go with this picture, under the field that asked for it."""
        errors: Errors = {}
        for name, side in zip(("target_width", "target_height"), film.size, strict=True):
            target = getattr(sizing, name)
            if target is not None and not self.target_fits(side, target):
                errors[name] = ["It must be larger than the original, and at most 4 times as large."]
        if not errors and not self.result_fits(film, self.result_size(film.size, sizing)):
            asked = [name for name in ("target_width", "target_height") if getattr(sizing, name)]
            errors[asked[0] if asked else "scale_factor"] = ["The result would be too large."]
        return errors

    def target_fits(self, side: int, target: int) -> bool:
        return side < target <= self.largest_factor * side

    def result_fits(self, film: Film, size: tuple[int, int]) -> bool:
        width, height = size
        longest = LARGEST_SIDE - 1 if film.format == "webp" else LARGEST_SIDE
        return max(size) <= longest and width * height * len(film.frames) <= LARGEST_RESULT

    def result_size(self, original: tuple[int, int], sizing: Sizing) -> tuple[int, int]:
        width, height = original
        if sizing.target_width and sizing.target_height:
            return sizing.target_width, sizing.target_height
        if sizing.target_width:
            return sizing.target_width, self.following_side(height, sizing.target_width, width)
        if sizing.target_height:
            return self.following_side(width, sizing.target_height, height), sizing.target_height
        factor = self.factor(sizing)
        return width * factor, height * factor

    def factor(self, sizing: Sizing) -> int:
        assert sizing.scale_factor is not None
        return sizing.scale_factor

    def following_side(self, side: int, target: int, original: int) -> int:
        """``side × target / original``, halves upwards, at least 1."""
        return max(1, (2 * side * target + original) // (2 * original))

    def store_image(
        self, account: Account, part: Part, film: Film, sizing: Sizing, batch: StoredBatch | None = None
    ) -> StoredImage:
        now = self.now()
        image = StoredImage(
            self.new_id("image"), account, self.clean(part.filename or ""), film.format, part.content,
            film.size, self.result_size(film.size, sizing), sizing, now, now, batch,
        )  # fmt: skip
        self.images[image.id] = image
        self.work.put(image)
        return image

    def clean(self, filename: str) -> str:
        """No folders and no control characters."""
        last = re.split(r"[/\\]", filename)[-1]
        kept = "".join(c for c in last if c.isprintable()).strip()[:LONGEST_TEXT]
        return kept if kept.strip(".") else "image"

    # Work

    def work_off(self) -> None:
        while (image := self.work.get()) is not None:
            self.process(image)

    def process(self, image: StoredImage) -> None:
        with self.lock:
            if image.id not in self.images or image.status != "pending":
                return
            self.begin(image)
        self.stopped.wait(self.work_seconds)
        try:
            film = self.upscaled(image)
            content = self.encode(film)
        except Exception:  # noqa: BLE001  # a picture that cannot be worked on fails, and the next one has its turn
            film, content = None, b""
        with self.lock:
            if image.id in self.images and image.status == "processing":
                if film:
                    self.complete(image, film, content)
                else:
                    self.fail(image)

    def begin(self, image: StoredImage) -> None:
        image.began = time.monotonic()
        self.set_status(image, "processing")
        if image.batch:
            image.batch.begun = True
            image.batch.updated_at = self.now()

    def complete(self, image: StoredImage, film: Film, content: bytes) -> None:
        image.result, image.result_size = content, film.size
        image.processing_time = int((time.monotonic() - image.began) * 100) / 100
        self.set_status(image, "completed")
        if image.batch:
            image.batch.completed += 1
            self.note_end(image.batch)

    def fail(self, image: StoredImage) -> None:
        self.set_status(image, "failed")
        if image.batch:
            image.batch.failed += 1
            self.note_end(image.batch)

    def set_status(self, image: StoredImage, status: str) -> None:
        image.status = status
        image.updated_at = max(self.now(), image.created_at)

    def upscaled(self, image: StoredImage) -> Film:
        film = self.decode(image.content)
        return self.upscale(film, image.wanted_size)

    def upscale(self, film: Film, size: tuple[int, int]) -> Film:
        """All frames at the size, and all pages by its ratio."""
        width, height = film.size
        film.frames = [
            self.enlarge(
                frame,
                (self.following_side(frame.width, size[0], width), self.following_side(frame.height, size[1], height))
                if film.pages else size,
            )
            for frame in film.frames
        ]  # fmt: skip
        return film

    def enlarge(self, frame: Image.Image, size: tuple[int, int]) -> Image.Image:
        return frame.resize(size, Image.Resampling.LANCZOS)

    def encode(self, film: Film) -> bytes:
        return pictures.file_of(film)

    # Images

    def uploaded_data(self, image: StoredImage) -> dict[str, Any]:
        data = self.image_data(image)
        wanted = (
            "id", "batch_id", "original_filename", "original_size", "original_size_human", "status",
            "scale_factor", "target_width", "target_height", "api_request", "created_at", "updated_at",
        )  # fmt: skip
        return {name: data[name] for name in wanted if name in data} | {"original_dimensions": None}

    def image_data(self, image: StoredImage) -> dict[str, Any]:
        done = image.status == "completed"
        known = image.status != "pending"
        data = {
            "id": image.id,
            "original_filename": image.filename,
            "original_path": f"in/{self.stored_name(image)}.{image.format}",
            "upscaled_path": f"out/{self.stored_name(image)}.{image.format}" if done else None,
            "original_size": len(image.content),
            "upscaled_size": len(image.result) if done else None,
            "original_size_human": self.human(len(image.content)),
            "upscaled_size_human": self.human(len(image.result)) if done else None,
            "original_dimensions": self.dimensions(image.original_size) if known else None,
            "upscaled_dimensions": self.dimensions(image.result_size) if done else None,
            "original_dimensions_formatted": self.dimensions(image.original_size, " x ") if known else None,
            "upscaled_dimensions_formatted": self.dimensions(image.result_size, " x ") if done else None,
            "status": image.status,
            **self.sizing_data(image.sizing),
            "processing_time": image.processing_time,
            "api_request": True,
            "download_url": self.link(image) if done else None,
            "created_at": self.time_text(image.created_at),
            "updated_at": self.time_text(image.updated_at),
        }
        return data | ({"batch_id": image.batch.id} if image.batch else {})

    def stored_name(self, image: StoredImage) -> str:
        return image.stored_name

    def sizing_data(self, sizing: Sizing) -> dict[str, Any]:
        return {
            "scale_factor": sizing.scale_factor,
            "target_width": sizing.target_width,
            "target_height": sizing.target_height,
        }

    def human(self, size: int) -> str:
        amount, units = float(size), ["B", "KB", "MB", "GB", "TB"]
        while amount >= KIB and len(units) > 1:
            amount, units = amount / KIB, units[1:]
        return f"{amount:.2f}".rstrip("0").rstrip(".") + f" {units[0]}"

    def dimensions(self, size: tuple[int, int], between: str = "x") -> str:
        return f"{size[0]}{between}{size[1]}"

    def list_images(self, request: Any, caller: Caller) -> Success:
        found = self.listed(self.images, caller.account)
        return self.page(request, "/images", found, IMAGE_STATUSES, self.image_data)

    def show_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.owned(self.images, number, caller.account)
        return Success("Image retrieved successfully", self.image_data(image))

    def delete_image(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.owned(self.images, number, caller.account)
        if image.status == "pending":
            self.give_back(image)
        self.forget(image)
        return Success("Image deleted successfully")

    def forget(self, image: StoredImage) -> None:
        del self.images[image.id]
        batch = image.batch
        if batch:
            batch.images.remove(image)
            if image.status in {"pending", "processing"} and not batch.cancelled:
                batch.failed += 1
            self.note_end(batch)

    # Downloads

    def show_download(self, request: Any, caller: Caller, number: int) -> Success:
        image = self.owned(self.images, number, caller.account)
        if image.status != "completed":
            raise Refused(400, f"The image is {image.status}.")
        data = {"download_url": self.link(image), "filename": self.result_name(image)}
        return Success("Download URL generated successfully", data)

    def result_name(self, image: StoredImage) -> str:
        """The user's own, with the extension put right."""
        stem, dot, extension = image.filename.rpartition(".")
        right = EXTENSIONS[image.format]
        if dot and stem and f".{extension.lower()}" in right:
            return image.filename
        return (stem if dot and stem else image.filename) + right[0]

    def link(self, image: StoredImage) -> str:
        expires = int((self.now() + timedelta(seconds=self.link_seconds)).timestamp())
        query = {"expires": str(expires), "signature": self.signature(image.id, expires)}
        return f"{self.base_url}/results/{image.id}?{urlencode(query)}"

    def signature(self, number: int, expires: int) -> str:
        return hmac.new(self.secret, f"{number}:{expires}".encode(), hashlib.sha256).hexdigest()

    def fetch_result(self, request: Any, number: int) -> Response:
        query = dict(parse_qsl(request.query_string, keep_blank_values=True))
        if not self.link_is_good(number, query):
            raise Refused(403, "The link was changed or has expired.")
        image = self.images.get(number)
        if image is None or image.status != "completed":
            raise self.not_found()
        return self.file_response(image)

    def link_is_good(self, number: int, query: dict[str, str]) -> bool:
        if set(query) != {"expires", "signature"} or not query["expires"].isdecimal():
            return False
        expires = int(query["expires"])
        right = self.signature(number, expires).encode()
        return hmac.compare_digest(right, query["signature"].encode()) and not self.has_expired(expires)

    def has_expired(self, expires: int) -> bool:
        return expires <= self.now().timestamp()

    def file_response(self, image: StoredImage) -> Response:
        headers = {
            "Content-Type": self.file_type(image),
            "Content-Disposition": self.disposition(self.result_name(image)),
        }
        return Response(200, headers, image.result)

    def file_type(self, image: StoredImage) -> str:
        return f"image/{image.format}"

    def disposition(self, filename: str) -> str:
        plain = re.sub(r'[^ -~]|["\\%;]', "_", filename)
        return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"

    # Batches

    def upload_batch(self, request: Any, caller: Caller, parts: list[Part]) -> Success:
        fields = {"images[]", "name", "scale_factor", "target_width", "target_height"}
        errors = self.form_errors(parts, fields, file_field="images[]")
        sizing = self.sizing(parts, errors)
        name = self.batch_name(parts, errors)
        files = [part for part in parts if part.name == "images[]" and (part.filename or part.content)]
        films = self.read_pictures(files, errors) if "images" not in errors else []
        if films and not self.sizing_errors(errors):
            errors |= self.batch_size_errors(films, sizing)
        if errors:
            raise self.invalid(errors)
        self.take(caller.account, len(files))
        batch = self.store_batch(caller.account, name, sizing, files, [film for film in films if film])
        return Success("Batch created and images queued for processing", self.accepted_data(batch), 202)

    def batch_name(self, parts: list[Part], errors: Errors) -> str | None:
        part = next((part for part in parts if part.name == "name" and part.content), None)
        if part is None or "name" in errors:
            return None
        if len(part.text) > LONGEST_TEXT or "\0" in part.text:
            errors["name"] = ["The name may not be longer than 255 characters."]
        return part.text

    def read_pictures(self, files: list[Part], errors: Errors) -> list[Film | None]:
        if not 1 <= len(files) <= self.most_files():
            errors["images"] = ["There must be between 1 and 20 images."]
            return []
        return [self.read_picture(part, f"images.{place}", errors) for place, part in enumerate(files)]

    def most_files(self) -> int:
        return MOST_FILES

    def batch_size_errors(self, films: list[Film | None], sizing: Sizing) -> Errors:
        """On the field when no picture goes with it, otherwise on those that do not."""
        found = {place: self.size_errors(film, sizing) for place, film in enumerate(films) if film}
        if found and all(found.values()):
            return next(iter(found.values()))
        return {
            f"images.{place}": [sentence for sentences in errors.values() for sentence in sentences]
            for place, errors in found.items()
            if errors
        }

    def store_batch(
        self, account: Account, name: str | None, sizing: Sizing, files: list[Part], films: list[Film]
    ) -> StoredBatch:
        now = self.now()
        batch = StoredBatch(self.new_id("batch"), account, name, sizing, len(files), now, now)
        self.batches[batch.id] = batch
        for part, film in zip(files, films, strict=True):
            batch.images.append(self.store_image(account, part, film, sizing, batch))
        return batch

    def batch_status(self, batch: StoredBatch) -> str:
        if batch.cancelled:
            return "cancelled"
        if batch.completed + batch.failed < batch.total:
            return "processing" if batch.begun else "pending"
        if batch.failed == 0:
            return "completed"
        return "partially_failed" if batch.completed else "failed"

    def batch_progress(self, batch: StoredBatch) -> int:
        return 100 * (batch.completed + batch.failed) // batch.total

    def note_end(self, batch: StoredBatch) -> None:
        batch.updated_at = self.now()
        if batch.completed_at is None and self.batch_status(batch) not in {"pending", "processing"}:
            batch.completed_at = batch.updated_at

    def accepted_data(self, batch: StoredBatch) -> dict[str, Any]:
        return self.batch_data(batch) | {"images": [self.uploaded_data(image) for image in batch.images]}

    def batch_data(self, batch: StoredBatch) -> dict[str, Any]:
        return {
            "id": batch.id,
            "name": batch.name,
            "status": self.batch_status(batch),
            "total_images": batch.total,
            "completed_images": batch.completed,
            "failed_images": batch.failed,
            "scale_factor": batch.sizing.scale_factor,
            "progress": self.batch_progress(batch),
            "images": [self.image_data(image) for image in batch.images],
            "created_at": self.time_text(batch.created_at),
            "updated_at": self.time_text(batch.updated_at),
            "completed_at": self.time_text(batch.completed_at),
        }

    def list_batches(self, request: Any, caller: Caller) -> Success:
        found = self.listed(self.batches, caller.account)
        return self.page(request, "/batches", found, BATCH_STATUSES, self.batch_data)

    def show_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.owned(self.batches, number, caller.account)
        return Success("Batch retrieved successfully", self.batch_data(batch))

    def delete_batch(self, request: Any, caller: Caller, number: int) -> Success:
        batch = self.owned(self.batches, number, caller.account)
        if self.batch_status(batch) in {"pending", "processing"}:
            self.cancel(batch)
            return Success("Batch cancelled successfully")
        self.forget_batch(batch)
        return Success("Batch deleted successfully")

    def cancel(self, batch: StoredBatch) -> None:
        for image in batch.images:
            if image.status == "pending":
                self.give_back(image)
            if image.status in {"pending", "processing"}:
                self.set_status(image, "failed")
                batch.failed += 1
        batch.cancelled = True
        self.note_end(batch)

    def forget_batch(self, batch: StoredBatch) -> None:
        for image in list(batch.images):
            self.forget(image)
        del self.batches[batch.id]

    # Lists

    def listed(self, things: dict[int, Any], account: Account) -> list[Any]:
        return self.newest_first([thing for thing in things.values() if self.may_see(account, thing)])

    def newest_first(self, things: list[Any]) -> list[Any]:
        return sorted(things, key=lambda thing: (thing.created_at, thing.id), reverse=True)

    def page(
        self, request: Any, path: str, found: list[Any], statuses: tuple[str, ...], data: Callable[[Any], Any]
    ) -> Success:
        query = parse_qsl(request.query_string, keep_blank_values=True)
        number, per_page, status = self.paging(query, statuses)
        if status is not None:
            found = [thing for thing in found if self.status_of(thing) == status]
        last = self.last_page(len(found), per_page)
        beside = {
            "meta": self.meta(number, last, per_page, len(found)),
            "links": self.links(path, query, number, last),
        }
        shown = [data(thing) for thing in self.page_slice(found, number, per_page)]
        return Success("Retrieved successfully", shown, beside=beside)

    def status_of(self, thing: StoredImage | StoredBatch) -> str:
        return self.batch_status(thing) if isinstance(thing, StoredBatch) else thing.status

    def paging(self, query: list[tuple[str, str]], statuses: tuple[str, ...]) -> tuple[int, int, str | None]:
        errors: Errors = {}
        given: dict[str, Any] = {"page": 1, "per_page": self.default_per_page(), "status": None}
        most = {"page": 2**53 - 1, "per_page": self.most_per_page()}
        for name in ("page", "per_page", "status"):
            values = [value for key, value in query if key == name]
            if len(values) > 1:
                errors[name] = [f"The {name} is given twice."]
            elif values and name == "status":
                given[name] = values[0]
                if values[0] not in statuses:
                    errors[name] = [f"The status must be one of: {', '.join(statuses)}."]
            elif values:
                given[name] = self.whole_number(values[0])
                if given[name] is None or not 1 <= given[name] <= most[name]:
                    errors[name] = [f"The {name} must be a whole number between 1 and {most[name]}."]
        if errors:
            raise self.invalid(errors)
        return given["page"], given["per_page"], given["status"]

    def default_per_page(self) -> int:
        return 15

    def most_per_page(self) -> int:
        return MOST_PER_PAGE

    def page_slice(self, found: list[Any], number: int, per_page: int) -> list[Any]:
        return found[(number - 1) * per_page : number * per_page]

    def last_page(self, total: int, per_page: int) -> int:
        return max(1, -(-total // per_page))

    def meta(self, number: int, last: int, per_page: int, total: int) -> dict[str, Any]:
        return {"current_page": number, "last_page": last, "per_page": per_page, "total": total}

    def links(self, path: str, query: list[tuple[str, str]], number: int, last: int) -> dict[str, Any]:
        kept = [(name, value) for name, value in query if name in {"per_page", "status"}]

        def to(page: int) -> str:
            return f"{self.base_url}{path}?{urlencode([*kept, ('page', str(page))])}"

        return {
            "first": to(1),
            "last": to(last),
            "prev": to(min(number - 1, last)) if number > 1 else None,
            "next": to(number + 1) if number < last else None,
        }


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value
