"""Uploads at the same time, as from a client that has many images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import TYPE_CHECKING

from conformance.client import Client

if TYPE_CHECKING:
    from conformance.client import Response, Transport
    from conformance.images.samples import Sample
    from conformance.kit import Kit


def upload_concurrently(kit: Kit, samples: list[Sample]) -> list[Response]:
    """Upload all samples at once and return the responses in their order, whatever their statuses.

    Each upload has its own connection; the exchanges are then added to the record of the kit. The images are
    deleted at the end. Raise Inconclusive if any upload got no response.
    """
    # A session and its record of exchanges are not thread-safe: each thread has its own.
    transports = [kit.new_transport() for _ in samples]
    barrier = Barrier(len(samples))

    def send(transport: Transport, sample: Sample) -> Response:
        """Wait for all threads, upload one sample, and close its connection."""
        barrier.wait()
        part = (kit.images.filename(sample), sample.content, sample.media_type)
        with closing(transport):  # without delay, because a small server may accept one connection at a time
            return Client(transport, kit.owner.token).post("/images/upscale", files={"image": part})

    with ThreadPoolExecutor(len(samples)) as threads:
        sent = [threads.submit(send, *both) for both in zip(transports, samples, strict=True)]
    for transport in transports:
        kit.transport.exchanges += transport.exchanges
        kit.transport.posts_without_response += transport.posts_without_response
    for one in sent:
        if one.exception() is None:
            kit.images.track(one.result())
    return [one.result() for one in sent]
