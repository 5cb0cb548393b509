"""The batches that several checks look at; each is sent once in a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.images.samples import picture, scene
from conformance.kit import BATCH_TERMINAL
from conformance.verdicts import Broken, Inconclusive

if TYPE_CHECKING:
    from conformance.client import Answer
    from conformance.images.samples import Picture
    from conformance.kit import Kit

MOST = 20
LONGEST_NAME = 255
NOT_FOUND = 404
# Seconds between two looks at a batch: short at first, so that more than its end is seen of a quick one.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True)
class Watched:
    """A batch of three pictures from its 202 to its end. ``looks`` are what was told of it, the last one final."""

    pictures: list[Picture]
    accepted: dict[str, Any]
    looks: list[dict[str, Any]]

    @property
    def id(self) -> int:
        return int(self.accepted["id"])

    @property
    def end(self) -> dict[str, Any]:
        return self.looks[-1]


@dataclass(frozen=True)
class Crowd:
    """A batch of as many pictures as there can be, and what came of deleting it while it was at work.

    ``before`` and ``after`` are what was told of it just before and just after; ``after`` is None where it was gone:
    finished by then, perhaps, and so deleted. ``seconds`` from its acceptance to the answer to its deletion.
    """

    picture: Picture
    accepted: dict[str, Any]
    before: dict[str, Any]
    deletion: Answer
    after: dict[str, Any] | None
    seconds: float

    @property
    def id(self) -> int:
        return int(self.accepted["id"])


def tiny() -> Picture:
    """As little work as a picture can be."""
    return picture("png", scene(12, 9))


def watched(kit: Kit) -> Watched:
    """Three formats and three sizes, three times as large: 33 and 66 percent are to be rounded down."""

    def watch() -> Watched:
        pictures = [
            picture("png", scene(24, 18), "first"),
            picture("jpeg", scene(20, 16), "second"),
            picture("gif", scene(16, 16), "third"),
        ]
        accepted = kit.batch(pictures, {"scale_factor": 3})
        return Watched(pictures, accepted, _looks(kit, accepted["id"]))

    return kit.once("watched batch", watch)


def labelled(kit: Kit) -> dict[str, dict[str, Any]]:
    """Three batches of one picture, as accepted: with a name, without one, with the longest."""

    def send() -> dict[str, dict[str, Any]]:
        names = {"short": kit.tag, "none": None, "longest": f"{kit.tag} ".ljust(LONGEST_NAME, "ü")}
        return {which: kit.batch([tiny()], {"name": name}) for which, name in names.items()}

    return kit.once("labelled batches", send)


def crowd(kit: Kit) -> Crowd:
    """Cancelled as soon as accepted; sent once more, with more work in it, where it was finished before that."""
    return kit.once("crowded batch", lambda: _cancelled_crowd(kit))


def pair(kit: Kit) -> dict[str, Any]:
    """A batch of two at its end, to be deleted."""

    def finish() -> dict[str, Any]:
        accepted = kit.batch([tiny(), tiny()])
        return kit.wait_for_batch(accepted["id"])[0]

    return kit.once("pair", finish)


def _cancelled_crowd(kit: Kit) -> Crowd:
    for one in (tiny(), picture("png")):
        accepted = kit.batch([one] * MOST)
        began = time.monotonic()
        path = f"/batches/{accepted['id']}"
        before: dict[str, Any] = kit.owner.get(path).expect(200).data
        deletion = kit.owner.delete(path)
        seconds = time.monotonic() - began
        look = kit.owner.get(path).expect(200, NOT_FOUND, why="after a batch at work was deleted")
        after = None if look.status == NOT_FOUND else look.data
        found = Crowd(one, accepted, before, deletion, after, seconds)
        if after is not None and after["status"] != "completed":  # its last image at that very moment
            break
    return found


def _looks(kit: Kit, batch_id: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + kit.options.work_timeout
    pause = _FIRST_PAUSE
    looks: list[dict[str, Any]] = []
    while True:
        data: dict[str, Any] = kit.owner.get(f"/batches/{batch_id}").expect(200).data
        if not looks or data != looks[-1]:
            looks.append(data)
        if data["status"] in BATCH_TERMINAL:
            # Once more: a server that reads the counters first and the images then may have told of two moments.
            looks.append(kit.owner.get(f"/batches/{batch_id}").expect(200).data)
            return looks
        if time.monotonic() > deadline:
            raise Inconclusive(
                f"A batch of three is still {data['status']!r} after {kit.options.work_timeout:.0f} s. Give the server "
                "longer with --work-timeout."
            )
        time.sleep(pause)
        pause = min(pause * 1.1, _LONGEST_PAUSE)


def images_of(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises Broken for anything but a list of images."""
    images = batch["images"]
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise Broken("`images` of a batch is no list of objects.", expected="a list", actual=images)
    return images
