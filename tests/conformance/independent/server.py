"""The independent server: its routes, and the way of a request. To break one thing, override one method."""

from __future__ import annotations

import threading
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import bottle

from independent.accounts import Accounts
from independent.batches import Batches
from independent.envelope import ApiError
from independent.http import ThreadedServer
from independent.records import Caller, Route

if TYPE_CHECKING:
    from independent.records import Success

__all__ = ["Caller", "Route", "Server"]

KIB, MIB = 1024, 1024 * 1024
MAX_JSON_BYTES, MAX_UPLOAD_BYTES, MAX_BATCH_BYTES = 64 * KIB, 11 * MIB, 205 * MIB


class Server(Accounts, Batches):
    """A server on a free port: ``with Server() as server``.

    It has two verified accounts with a token each. The first one has ``email`` and ``password``. ``options`` are
    those of ``State``.
    """

    email, password = "ann@example.com", "Correct1Horse"
    other_email = "bob@example.com"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        owners = [
            self.new_account(name, email, self.password, plan="enterprise", verified=True)
            for name, email in (("Ann Example", self.email), ("Bob Example", self.other_email))
        ]
        self.tokens = [self.issue_token(account, "conformance") for account in owners]

    def __enter__(self) -> Self:
        self.connections = ThreadedServer(self.application())
        self.base_url = f"http://127.0.0.1:{self.connections.server_port}/api"
        serve = partial(self.connections.serve_forever, poll_interval=0.02)
        self.threads = [threading.Thread(target=target, daemon=True) for target in (serve, self.run_worker)]
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

    def application(self) -> bottle.Bottle:
        """Return the WSGI application."""
        app = bottle.Bottle()
        app.default_error_handler = self.handle_bottle_error
        for route in self.routes():
            app.route(f"/api{route.path}", route.method, partial(self.serve, route))
        return app

    def routes(self) -> list[Route]:
        """Return all operations."""
        number = "<number:re:[1-9][0-9]*>"
        return [
            Route("POST", "/auth/register", self.register, "public", "json", MAX_JSON_BYTES),
            Route("POST", "/auth/login", self.login, "public", "json", MAX_JSON_BYTES),
            Route("POST", "/auth/logout", self.logout, "account"),
            Route("POST", "/auth/revoke-all", self.revoke_all, "account"),
            Route("GET", "/user", self.show_user, "account"),
            Route("GET", "/usage", self.show_usage, "account"),
            Route("GET", "/subscription", self.show_subscription, "account"),
            Route("GET", "/user/tokens", self.list_tokens, "account"),
            Route("DELETE", f"/user/tokens/{number}", self.delete_token, "account"),
            Route("POST", "/images/upscale", self.upload_image, "images", "form", MAX_UPLOAD_BYTES),
            Route("GET", "/images", self.list_images, "images"),
            Route("GET", f"/images/{number}", self.show_image, "images"),
            Route("DELETE", f"/images/{number}", self.delete_image, "images"),
            Route("GET", f"/images/{number}/download", self.show_download, "images"),
            Route("POST", "/batches", self.upload_batch, "batches", "form", MAX_BATCH_BYTES),
            Route("GET", "/batches", self.list_batches, "batches"),
            Route("GET", f"/batches/{number}", self.show_batch, "batches"),
            Route("DELETE", f"/batches/{number}", self.delete_batch, "batches"),
            Route("GET", f"/results/{number}", self.fetch_result, "link"),
        ]

    def serve(self, route: Route, **parts: str) -> bottle.HTTPResponse:
        """Authenticate the request, run the handler, and return the response."""
        request = bottle.request
        time.sleep(self.slow)
        numbers = {name: int(value) for name, value in parts.items()}
        caller = None
        try:
            if route.access == "link":
                response = self.fetch_result(request, **numbers)
            elif route.access == "public":
                self.count_public_request(request)
                response = self.success(self.handle(route, request, None, numbers))
            else:
                caller = self.authenticate(request)
                self.count_authenticated_request(caller)
                self.check_permission(route, caller)
                response = self.success(self.handle(route, request, caller, numbers))
        except ApiError as error:
            response = self.error(error)
        if caller and route.access in {"images", "batches"}:
            response.headers.update(self.quota_headers(caller.account))
        return self.send(request, response)

    def handle(self, route: Route, request: Any, caller: Caller | None, numbers: dict[str, int]) -> Success:
        """Parse the body and call the handler. One handler runs at a time."""
        body = {"json": self.json_body, "form": self.form_body}.get(route.body)
        parsed = [body(request, route.max_bytes)] if body else []
        with self.lock:
            if caller is None:
                return route.handler(request, *parsed)
            return route.handler(request, caller, *parsed, **numbers)

    def handle_bottle_error(self, error: bottle.HTTPError) -> bottle.HTTPResponse:
        """Return the envelope for an unknown route, a wrong method or an exception."""
        messages = {
            HTTPStatus.NOT_FOUND: "Not found.",
            HTTPStatus.METHOD_NOT_ALLOWED: "Method not allowed.",
            HTTPStatus.BAD_REQUEST: "The request is malformed.",
        }
        status = error.status_code
        api_error = ApiError(status, messages.get(status, "Server error"))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            api_error.headers["Allow"] = self.allow_header(error.headers["Allow"])
        sent = self.send(bottle.request, self.error(api_error))
        bottle.response.status = sent.status
        bottle.response.headers.clear()
        for name, value in sent.headers.items():
            bottle.response.set_header(name, value)
        return sent.body

    def allow_header(self, methods: str) -> str:
        """Return the value of ``Allow``: the methods, sorted, each once."""
        return ", ".join(sorted(set(methods.replace(" ", "").split(","))))
