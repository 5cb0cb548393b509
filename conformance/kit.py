"""What a check works with: callers, pictures, waiting, and the tidying up afterwards."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar, cast

from conformance.accounts import Accounts
from conformance.client import TOO_MANY_REQUESTS, Client, Transport, retry_after
from conformance.exchanges import Secrets
from conformance.images.samples import opened
from conformance.plans import factor_asked, largest_factor
from conformance.verdicts import Broken, Inconclusive, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image

    from conformance.client import Answer
    from conformance.exchanges import Exchange
    from conformance.images.samples import Picture
    from conformance.options import Options

T = TypeVar("T")
TERMINAL = frozenset({"completed", "failed"})
BATCH_TERMINAL = frozenset({"completed", "partially_failed", "failed", "cancelled"})
FORBIDDEN, UNPROCESSABLE = 403, 422
LARGEST_FACTOR = 4  # that the kit asks for
# So many an hour may a server take from callers without a valid token. All of core has to do with them.
ANONYMOUS_REQUESTS = 10
_SHORT_PAUSE = 5.0  # seconds; a limit for an hour is seldom over so soon
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between two looks at a status


@dataclass(frozen=True)
class Finished:
    """An image that was completed: as ``GET /images/{id}`` tells of it, and its result's file."""

    picture: Picture
    accepted: dict[str, Any]  # the data of the 202
    image: dict[str, Any]
    download: Answer  # of the file
    statuses: tuple[str, ...]  # those seen, in order, each once

    @property
    def content(self) -> bytes:
        return self.download.content

    @property
    def result(self) -> Image.Image:
        """Raises Broken for a file that is no picture."""
        try:
            return opened(self.content)
        except Exception as reason:
            raise Broken(
                "The downloaded result cannot be read as a picture.", actual=self.content[:40].hex(" ")
            ) from reason


class Kit:
    """One run against one server. All that it makes there is named with ``tag``, and deleted by ``close``."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.random = Random(options.seed)  # noqa: S311  # to repeat a run, not to keep a secret
        # Not by the seed: two runs with the same one may go on at the same time, under one account.
        self.tag = f"uprez-kit-{token_hex(4)}"
        given = {"TOKEN": options.token, "TOKEN_B": options.token_b, "PASSWORD": options.password}
        self.secrets = Secrets(given, plain=options.base_url)
        self.transport = Transport(
            options.base_url,
            timeout=options.timeout,
            max_wait=options.max_wait,
            secrets=self.secrets,
            ca_file=options.ca_file,
        )
        self.accounts = Accounts(self.transport, self.tag)
        self.owner = Client(self.transport, options.token)
        self.anonymous = Client(self.transport, None)
        self._finished: dict[object, Finished] = {}
        self._said: dict[object, list[Exchange]] = {}
        self.recalled: list[Exchange] = []  # earlier ones that the current check rests on
        self._made_once: dict[str, object] = {}
        self._images: dict[int, Client] = {}
        self._batches: dict[int, Client] = {}

    @property
    def other(self) -> Client:
        """Another account. Raises Skipped without one."""
        if self.options.token_b is None:
            raise Skipped("Needs a token of a second account: --token-b.")
        return Client(self.transport, self.options.token_b)

    @property
    def credentials(self) -> tuple[str, str]:
        """E-mail address and password of the first account. Raises Skipped without them."""
        if self.options.email is None or self.options.password is None:
            raise Skipped("Needs an account's --email and --password.")
        return self.options.email, self.options.password

    @property
    def anonymous_left(self) -> int:
        """How many requests without a valid token a server still has to take, by all that was sent so far."""
        return ANONYMOUS_REQUESTS - sum(map(_was_anonymous, self.transport.exchanges))

    def stranger(self, method: str, path: str, authorization: str | None = None, **body: Any) -> Answer:
        """The answer to a request without a valid token.

        Where the server has had enough of them, a 429 comes back and is not waited for: it may last an hour.
        """
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = self.transport.send(method, path, headers=headers, patient=False, **body)
        pause = retry_after(answer) if answer.status == TOO_MANY_REQUESTS else None
        if pause is None or pause > _SHORT_PAUSE:
            return answer
        time.sleep(pause)
        return self.transport.send(method, path, headers=headers, patient=False, **body)

    def draw_for(self, name: str) -> None:
        """From here on ``random`` draws the same, whatever was drawn before: alone as in a whole run."""
        self.random = Random(f"{self.options.seed} {name}")  # noqa: S311

    def client(self, token: str | None) -> Client:
        return Client(self.transport, token)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made only once in a run: for what several checks look at."""
        if name in self._made_once:
            self.recalled += self._said[name]
        else:
            first = len(self.transport.exchanges)
            self._made_once[name] = make()
            self._said[name] = self.transport.exchanges[first:]
        return cast("T", self._made_once[name])

    def filename(self, picture: Picture) -> str:
        return picture.filename if self.tag in picture.filename else f"{self.tag}-{picture.filename}"

    def try_upload(
        self, picture: Picture, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> Answer:
        """Whatever the answer; an image that came of it is deleted in the end."""
        client = client or self.owner
        part = (self.filename(picture), picture.content, picture.media_type)
        form = {name: str(value) for name, value in (fields or {}).items()}
        return self.remembered(client.post("/images/upscale", files={"image": part}, data=form), client)

    def remembered(self, answer: Answer, client: Client | None = None) -> Answer:
        """The answer to an upload, whose image, if there is one, is deleted in the end."""
        if answer.status < 300:  # noqa: PLR2004  # also where it should have been refused
            self._remember(self._images, answer, client or self.owner)
        return answer

    def upload(
        self, picture: Picture, fields: Mapping[str, object] | None = None, *, client: Client | None = None
    ) -> dict[str, Any]:
        """The data of the 202. Raises Inconclusive for a 403, and Broken for any other answer."""
        answer = self.allowed(self.try_upload(picture, fields, client=client))
        self._expect_within_plan(answer, [picture], fields or {}, client or self.owner)
        data: dict[str, Any] = answer.expect(202, why="with a good picture").data
        return data

    def try_form(self, parts: list[tuple[str, Any]], *, client: Client | None = None) -> Answer:
        """An upload of a form as ``requests`` takes it in ``files``, for what ``try_upload`` cannot say."""
        return self.remembered((client or self.owner).post("/images/upscale", files=parts), client)

    def allowed(self, answer: Answer) -> Answer:
        """Itself. Raises Inconclusive for a 403: what the account may not do says nothing about the server."""
        if answer.status == FORBIDDEN:
            raise Inconclusive(
                f"{answer.asked} is answered with 403. Give a token of an account whose plan has it, and with enough of "
                "its monthly quota left."
            )
        return answer

    def try_batch(
        self,
        pictures: list[Picture],
        fields: Mapping[str, object] | None = None,
        *,
        client: Client | None = None,
    ) -> Answer:
        """Whatever the answer. The batch is named with the run's tag unless ``fields`` name it, or not (None)."""
        client = client or self.owner
        parts = [("images[]", (self.filename(one), one.content, one.media_type)) for one in pictures]
        named = {"name": self.tag, **(fields or {})}
        form = {name: str(value) for name, value in named.items() if value is not None}
        answer = client.post("/batches", files=parts, data=form)
        if answer.status < 300:  # noqa: PLR2004
            self._remember(self._batches, answer, client)
        return answer

    def batch(self, pictures: list[Picture], fields: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The data of the 202. Raises Inconclusive for a 403, and Broken for any other answer."""
        answer = self.allowed(self.try_batch(pictures, fields))
        self._expect_within_plan(answer, pictures, fields or {}, self.owner)
        data: dict[str, Any] = answer.expect(202, why="with good pictures").data
        return data

    def image(self, image_id: int) -> dict[str, Any]:
        data: dict[str, Any] = self.owner.get(f"/images/{image_id}").expect(200).data
        return data

    def wait(self, image_id: int) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The image once it is completed or failed, and the statuses seen on the way. Raises Inconclusive."""
        return self._wait(f"/images/{image_id}", TERMINAL)

    def wait_for_batch(self, batch_id: int) -> tuple[dict[str, Any], tuple[str, ...]]:
        return self._wait(f"/batches/{batch_id}", BATCH_TERMINAL)

    def completed(self, picture: Picture, fields: Mapping[str, object] | None = None) -> Finished:
        """Sent, waited for and downloaded; the same picture with the same fields only once in a run.

        Raises Broken when it does not end completed, Inconclusive when it does not end in time.
        """
        key = (picture.filename, picture.content, tuple(sorted((fields or {}).items())))
        if key in self._finished:
            self.recalled += self._said[key]
        else:
            first = len(self.transport.exchanges)
            accepted = self.upload(picture, fields)
            image, statuses = self.wait(accepted["id"])
            if image.get("status") != "completed":
                raise Broken(
                    f"A good picture ({picture.format}) ends {image.get('status')!r}.",
                    expected="completed",
                    actual=image.get("error") or image.get("status"),
                )
            self._finished[key] = Finished(picture, accepted, image, self.file_of(image["id"]), statuses)
            self._said[key] = self.transport.exchanges[first:]
        return self._finished[key]

    def file_of(self, image_id: int) -> Answer:
        """The result's file, by the way that is documented."""
        link = self.owner.get(f"/images/{image_id}/download").expect(200).data["download_url"]
        return self.transport.follow(link).expect(200, why="for a download link")

    @property
    def own_images(self) -> set[int]:
        """The ids of those that the owner has sent by themselves and not deleted."""
        return {image_id for image_id, client in self._images.items() if client.token == self.owner.token}

    def delete_image(self, image_id: int) -> Answer:
        """As asked for by a check."""
        self._images.pop(image_id, None)
        return self.owner.delete(f"/images/{image_id}")

    def remember(self, where: str, made_id: int) -> None:
        """To be deleted in the end: ``/images`` or ``/batches``, made by the owner otherwise than above."""
        (self._images if where == "/images" else self._batches)[made_id] = self.owner

    def keep_only(self, image_ids: set[int]) -> None:
        """Forget what was deleted otherwise."""
        self._images = {
            image_id: client for image_id, client in self._images.items() if image_id in image_ids
        }

    def close(self) -> list[str]:
        """Delete what was made; a sentence for each thing that could not be."""
        left = []
        if self.transport.unanswered_posts:
            with suppress(Broken, Inconclusive):
                self._find_unanswered()
        for path, made in (("/batches", self._batches), ("/images", self._images)):
            for made_id, client in reversed(list(made.items())):
                try:
                    status = client.delete(f"{path}/{made_id}").status
                    if path == "/batches" and status == 200:  # noqa: PLR2004
                        # The first one cancels what is at work, the second one deletes it.
                        client.delete(f"{path}/{made_id}")
                except (Broken, Inconclusive) as reason:
                    left.append(f"{path}/{made_id} may still be there: {reason}")
                else:
                    if status not in {200, 404}:
                        left.append(
                            f"{path}/{made_id} may still be there: its deletion is answered with {status}."
                        )
        self._images, self._batches = {}, {}
        self.accounts.close()
        self.transport.close()
        return left

    def _expect_within_plan(
        self, answer: Answer, pictures: list[Picture], fields: Mapping[str, object], client: Client
    ) -> None:
        """Raises Inconclusive for a refusal of more than the account's plan allows."""
        if answer.status != UNPROCESSABLE:
            return
        asked = max((factor_asked(fields, picture.image.size) for picture in pictures), default=0)
        largest = largest_factor(client)
        if largest is not None and asked > largest:
            raise Inconclusive(
                f"{answer.asked} is answered with 422, and the account's plan enlarges by {largest:.0f} at most. Give a "
                f"token of an account whose plan enlarges by {LARGEST_FACTOR}."
            )

    def _find_unanswered(self) -> None:
        """What came of requests whose answers were lost, by the tag in its name."""
        for path, field, made in (
            ("/batches", "name", self._batches),
            ("/images", "original_filename", self._images),
        ):
            answer = self.owner.get(path, params={"per_page": 100})
            for item in answer.data if answer.status == 200 else []:  # noqa: PLR2004
                if isinstance(item, dict) and self.tag in str(item.get(field)):
                    made.setdefault(item["id"], self.owner)

    def look_until(self, path: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What is told there as soon as ``holds`` says so of it, or when the time that work may take is over."""
        deadline = time.monotonic() + self.options.work_timeout
        pause = _FIRST_PAUSE
        while True:
            data: dict[str, Any] = self.owner.get(path).expect(200).data
            if holds(data) or time.monotonic() > deadline:
                return data
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _wait(self, path: str, terminal: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        seen: list[str] = []

        def has_ended(data: dict[str, Any]) -> bool:
            status = str(data.get("status"))
            if not seen or seen[-1] != status:
                seen.append(status)
            return status in terminal

        data = self.look_until(path, has_ended)
        if seen[-1] not in terminal:
            raise Inconclusive(
                f"{path} is still {seen[-1]!r} after {self.options.work_timeout:.0f} s. Give the server longer with "
                "--work-timeout."
            )
        return data, tuple(seen)

    @staticmethod
    def _remember(made: dict[int, Client], answer: Answer, client: Client) -> None:
        data = answer.json.get("data") if isinstance(answer.json, dict) else None
        if isinstance(data, dict) and isinstance(data.get("id"), int):
            made[data["id"]] = client


def _was_anonymous(exchange: Exchange) -> bool:
    """Whether a server counted it as one without a valid token: not the download of a signed file."""
    if "Authorization" in exchange.request_headers:
        return exchange.status == 401  # noqa: PLR2004
    return exchange.method != "GET" or exchange.status in {401, 404, 429}
