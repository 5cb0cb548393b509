"""The Dramatiq broker from its URL, with settings under which a killed worker's message comes back soon."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DramatiqError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.errors import UprezError

if TYPE_CHECKING:
    from dramatiq import Broker

_log = logging.getLogger(__name__)

IMAGES_QUEUE = "images"
UPSCALE_ACTOR = "upscale_image"
_CONNECT_SECONDS = 2
_RESPONSE_SECONDS = 2
"""Dramatiq polls, so no command takes long; a server that hangs must not hang whoever uploads."""
_PAUSE_SECONDS = 5.0
"""So long a broker that did not answer is not asked again: its silence is paid for once, and not by each of the
twenty images of a batch. The reconciler wakes what was not announced.
"""
_HEARTBEAT_MILLISECONDS = 15_000
_EVERY_COMMAND = 1_000_000
"""Out of a million: every command looks for messages of dead workers. The default finds them after
about 13 minutes, and costs nothing noticeable less."""


class BrokerError(UprezError):
    code = "broker_unusable"


def make_broker(url: str) -> Broker:
    """Raises BrokerError for a URL that is none of ours; connects to nothing yet."""
    scheme = url.partition(":")[0]
    # No middleware: no retries, because the row decides what is tried again, and no time limit, because
    # native code cannot be interrupted from outside (the engine child can be killed).
    middleware: list[Any] = []
    if scheme in {"redis", "rediss", "unix"}:
        # A client of our own: beside a URL the broker ignores further connection settings.
        broker: Broker = RedisBroker(  # type: ignore[no-untyped-call]
            # One more try at once, for a connection that has gone stale; the default goes on for
            # ten seconds, and an upload waits for its answer meanwhile.
            client=Redis.from_url(
                url,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_RESPONSE_SECONDS,
                retry=Retry(NoBackoff(), 1),
            ),
            middleware=middleware,
            heartbeat_timeout=_HEARTBEAT_MILLISECONDS,
            maintenance_chance=_EVERY_COMMAND,
        )
    elif scheme in {"amqp", "amqps"}:
        broker = _rabbitmq(url, middleware)
    else:
        raise BrokerError(
            "UPREZ_BROKER_URL must begin with redis://, rediss://, unix://, amqp:// or amqps://"
        )
    broker.declare_queue(IMAGES_QUEUE)
    return broker


class BrokerQueue:
    """The Queue port: a message with the image's id, and nothing else that could be out of date."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._paused_until = 0.0

    def notify(self, image_id: int) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=IMAGES_QUEUE, actor_name=UPSCALE_ACTOR, args=(image_id,), kwargs={}, options={}
        )
        try:
            self._broker.enqueue(message)
        except (DramatiqError, RedisError, OSError) as reason:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            _log.warning(
                "Image %d waits for the reconciler, as do those of the next seconds: the broker did not take "
                "its message (%s).",
                image_id,
                reason,
            )
            return False
        return True


def _rabbitmq(url: str, middleware: list[Any]) -> Broker:
    try:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415  # an extra of its own
    except ImportError:
        raise BrokerError("An amqp:// broker needs the extra: pip install 'uprez[rabbitmq]'") from None
    return RabbitmqBroker(url=url, middleware=middleware, confirm_delivery=True)
