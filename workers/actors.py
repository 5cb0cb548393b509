"""The queue's side of a job: thin actors that say which image is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dramatiq

from workers.broker import BATCHES_QUEUE, IMAGES_QUEUE, UPSCALE_ACTOR, UPSCALE_OF_BATCH_ACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq import Broker


def declare_actors(broker: Broker, upscale: Callable[[int], None]) -> None:
    """A message is acknowledged whatever ``upscale`` met with: the row knows what is left to do."""

    def upscale_image(image_id: int) -> None:
        upscale(image_id)

    # A lower number goes first among what this process has fetched.
    for priority, name, queue in (
        (0, UPSCALE_ACTOR, IMAGES_QUEUE),
        (1, UPSCALE_OF_BATCH_ACTOR, BATCHES_QUEUE),
    ):
        dramatiq.actor(broker=broker, actor_name=name, queue_name=queue, priority=priority)(upscale_image)
