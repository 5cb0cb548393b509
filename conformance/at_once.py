"""Several uploads at the same time, as a client sends them that has many pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import TYPE_CHECKING

from conformance.client import Client, Transport

if TYPE_CHECKING:
    from conformance.client import Answer
    from conformance.images.samples import Picture
    from conformance.kit import Kit


def uploaded_at_once(kit: Kit, pictures: list[Picture]) -> list[Answer]:
    """The answers, whatever they are, in the order of the pictures; each goes over a connection of its own.

    Images that came of them are deleted in the end. Raises Inconclusive where one was not answered.
    """
    options = kit.options
    # One for each thread: a session, and the record of what was said over it, are for one thread at a time.
    transports = [
        Transport(
            options.base_url,
            timeout=options.timeout,
            max_wait=options.max_wait,
            secrets=kit.secrets,
            ca_file=options.ca_file,
        )
        for _ in pictures
    ]
    together = Barrier(len(pictures))

    def send(transport: Transport, one: Picture) -> Answer:
        together.wait()
        part = (kit.filename(one), one.content, one.media_type)
        with closing(transport):  # at once: a small server may take one connection at a time
            return Client(transport, kit.owner.token).post("/images/upscale", files={"image": part})

    with ThreadPoolExecutor(len(pictures)) as threads:
        sent = [threads.submit(send, *both) for both in zip(transports, pictures, strict=True)]
    for transport in transports:
        kit.transport.exchanges += transport.exchanges
        kit.transport.unanswered_posts += transport.unanswered_posts
    for one in sent:
        if one.exception() is None:
            kit.remembered(one.result())
    return [one.result() for one in sent]
