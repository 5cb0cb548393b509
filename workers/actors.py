"""The Dramatiq actor that passes an image's id to the upscaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dramatiq

from workers.broker import IMAGES_QUEUE, UPSCALE_ACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq import Broker


def declare_actors(broker: Broker, upscale: Callable[[int], None]) -> None:
    """Declare the actor that calls ``upscale`` with the image id of each message.

    Every message is acknowledged, even after an error: the image's row decides whether work remains.
    """

    def upscale_image(image_id: int) -> None:
        upscale(image_id)

    declare = dramatiq.actor(broker=broker, actor_name=UPSCALE_ACTOR, queue_name=IMAGES_QUEUE)
    declare(upscale_image)
