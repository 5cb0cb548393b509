"""The batches that several checks share; each is created once in a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from conformance.images.samples import make_sample, scene
from conformance.kit.batches import BATCH_TERMINAL
from conformance.verdicts import CheckFailed

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.images.samples import Sample
    from conformance.kit import Kit

MAX_IMAGES = 20
MAX_NAME_LENGTH = 255
# Slow growth of the pause, so that a fast batch is seen more than once.
_PAUSE_GROWTH = 1.1


@dataclass(frozen=True)
class ObservedBatch:
    """A batch of three images from its 202 to its end.

    ``observations`` are its different states, the last one final.
    """

    samples: list[Sample]
    accepted: dict[str, Any]
    observations: list[dict[str, Any]]

    @property
    def id(self) -> int:
        return int(self.accepted["id"])

    @property
    def end(self) -> dict[str, Any]:
        """Return the batch as it was last seen."""
        return self.observations[-1]


@dataclass(frozen=True)
class CancelledBatch:
    """A batch of the largest size that was deleted while it was running.

    ``before`` and ``after`` are its data just before and after the deletion; ``after`` is None if it was
    gone, perhaps because it was finished and therefore deleted. ``seconds`` is the time from its 202 to the
    response to the deletion.
    """

    sample: Sample
    accepted: dict[str, Any]
    before: dict[str, Any]
    deletion: Response
    after: dict[str, Any] | None
    seconds: float

    @property
    def id(self) -> int:
        return int(self.accepted["id"])


def tiny_sample() -> Sample:
    """Return an image that takes little time to process."""
    return make_sample("png", scene(12, 9))


def observed_batch(kit: Kit) -> ObservedBatch:
    """Return a batch of three formats and sizes at factor 3, observed to its end; created once in a run.

    Its progress of 33 and 66 percent is rounded down. Raise Inconclusive on timeout or if the account may not
    upload.
    """

    def observe() -> ObservedBatch:
        """Create a batch of three images in different formats and poll it until its end."""
        samples = [
            make_sample("png", scene(24, 18), "first"),
            make_sample("jpeg", scene(20, 16), "second"),
            make_sample("gif", scene(16, 16), "third"),
        ]
        accepted = kit.batches.create(samples, {"scale_factor": 3})
        return ObservedBatch(samples, accepted, _observations(kit, accepted["id"]))

    return kit.once("observed batch", observe)


def named_batches(kit: Kit) -> dict[str, dict[str, Any]]:
    """Return the 202 data of three batches of one image, by "short", "none" and "longest" name.

    They are created once in a run. The longest name has 255 characters.
    """

    def send() -> dict[str, dict[str, Any]]:
        """Create three batches: with a short name, without one, and with one of the greatest length."""
        names = {"short": kit.tag, "none": None, "longest": f"{kit.tag} ".ljust(MAX_NAME_LENGTH, "ü")}
        return {which: kit.batches.create([tiny_sample()], {"name": name}) for which, name in names.items()}

    return kit.once("named batches", send)


def cancelled_batch(kit: Kit) -> CancelledBatch:
    """Return a batch of 20 images deleted right after its 202; if it was finished first, one with more work.

    It is created once in a run. Even the second one may have been finished.
    """
    return kit.once("cancelled batch", lambda: _cancel_batch(kit))


def finished_pair(kit: Kit) -> dict[str, Any]:
    """Return the data of a finished batch of two images; created once in a run.

    Its final status is not checked. Raise Inconclusive on timeout.
    """

    def finish() -> dict[str, Any]:
        """Create a batch of two images and wait for its end."""
        accepted = kit.batches.create([tiny_sample(), tiny_sample()])
        return kit.batches.wait(accepted["id"])[0]

    return kit.once("finished pair", finish)


def batch_images(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the `images` of a batch. Raise CheckFailed unless they are a list of objects."""
    images = batch["images"]
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise CheckFailed("`images` of a batch is not a list of objects.", expected="a list", actual=images)
    return images


def _cancel_batch(kit: Kit) -> CancelledBatch:
    """Create a batch, delete it at once, and return it; try larger images if it was gone or completed.

    The status of the deletion is not checked. Raise CheckFailed unless the GET after it returns 200 or 404.
    """
    for sample in (tiny_sample(), make_sample("png")):
        accepted = kit.batches.create([sample] * MAX_IMAGES)
        began = time.monotonic()
        path = f"/batches/{accepted['id']}"
        before = kit.batches.get(accepted["id"])
        deletion = kit.owner.delete(path)
        seconds = time.monotonic() - began
        response = kit.owner.get(path).expect(200, 404, why="after the deletion of a running batch")
        after = None if response.status == HTTPStatus.NOT_FOUND else response.data
        found = CancelledBatch(sample, accepted, before, deletion, after, seconds)
        if after is not None and after["status"] != "completed":  # its last image may just have ended
            break
    return found


def _observations(kit: Kit, batch_id: int) -> list[dict[str, Any]]:
    """Return the different states of a batch, the last one requested again after its end.

    Raise Inconclusive on timeout.
    """
    observed: list[dict[str, Any]] = []

    def has_ended(data: dict[str, Any]) -> bool:
        """Store the batch if it has changed; return whether its status is final."""
        if not observed or data != observed[-1]:
            observed.append(data)
        return data["status"] in BATCH_TERMINAL

    end = kit.batches.poll(batch_id, has_ended, _PAUSE_GROWTH)
    kit.batches.expect_ended(batch_id, end["status"])
    # A server may read the counters before the images: only another request has both of the final state.
    observed.append(kit.batches.get(batch_id))
    return observed
