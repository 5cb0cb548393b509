"""The Dramatiq broker made from its URL, and the queue that sends image ids through it."""

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
"""Dramatiq polls, so no command takes long, and a server that hangs must not block an upload."""
_PAUSE_SECONDS = 5.0
"""Pause after a failure, during which no message is sent: a broken broker delays one of a batch's twenty images, not
each of them. The reconciler requeues the images without a message.
"""
_HEARTBEAT_MILLISECONDS = 15_000
_EVERY_COMMAND = 1_000_000
"""Dramatiq's maintenance chance per million commands: every command looks for messages of dead workers.

Dramatiq's default finds them after about 13 minutes and does not cost noticeably less.
"""


class BrokerError(UprezError):
    code = "broker_unusable"


def make_broker(url: str) -> Broker:
    """Return the broker for this URL, with the images' queue declared and without a connection.

    Raise BrokerError for a URL of an unknown scheme, or when the package for RabbitMQ is missing.
    """
    scheme = url.partition(":")[0]
    # There is no middleware: the row decides about retries, and a time limit cannot interrupt native code
    # (the engine child can be killed instead).
    middleware: list[Any] = []
    if scheme in {"redis", "rediss", "unix"}:
        # The client is made here because the broker ignores other connection settings next to a URL.
        broker: Broker = RedisBroker(  # type: ignore[no-untyped-call]
            # One immediate retry replaces a stale connection. The default retries for ten seconds, and an
            # upload waits for its response meanwhile.
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
    """The Queue port: each message holds the image's id and nothing that could be out of date."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._paused_until = 0.0

    def notify(self, image_id: int) -> bool:
        """Send the image's id to a worker; return False if the broker does not accept it or is paused.

        After a failure, which is logged, pause for ``_PAUSE_SECONDS``: requests do not wait for a broker that
        is down.
        """
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
                "image_not_queued image_id=%d pause_seconds=%g reason=%s", image_id, _PAUSE_SECONDS, reason
            )
            return False
        return True


def _rabbitmq(url: str, middleware: list[Any]) -> Broker:
    """Return a broker that waits for the server's confirmation of each message.

    Raise BrokerError without the package of the extra ``rabbitmq``.
    """
    try:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415  # an optional extra
    except ImportError:
        raise BrokerError(
            "An amqp:// broker needs an optional package. Install it: pip install 'uprez[rabbitmq]'"
        ) from None
    return RabbitmqBroker(url=url, middleware=middleware, confirm_delivery=True)
