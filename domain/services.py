"""The services and the policy of one installation, which the domain's functions receive."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from domain.sizing import Caps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.database.unit_of_work import Database
    from domain.links import LinkSigner
    from domain.passwords import Passwords
    from domain.plans import Plans
    from domain.ports import (
        BackgroundRunner,
        Clock,
        Mailer,
        ObjectStore,
        Probe,
        Queue,
        RandomSource,
        RequestCounter,
    )


@dataclass(frozen=True)
class Policy:
    """The values that an operator may configure."""

    default_plan: str = "free"
    origin: str = "http://127.0.0.1:8000"  # the start of links in mails
    public_url: str | None = None  # the start of links in responses; None: the host that the client used
    unauthenticated_per_hour: int = 10
    max_upload_bytes: int = 10 * 1024 * 1024
    max_input_pixels: int = 40_000_000
    max_waiting_images: int = 10_000
    result_caps: Caps = field(default_factory=Caps)
    model_choices: Mapping[str, str] = field(default_factory=dict)  # see ``domain/model_choices.py``
    lease: timedelta = timedelta(seconds=20)
    requeue_after: timedelta = timedelta(seconds=15)
    download_link_lifetime: timedelta = timedelta(hours=1)
    verification_link_lifetime: timedelta = timedelta(hours=24)
    reset_link_lifetime: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Services:
    """The ports' implementations and the policy of one installation."""

    database: Database
    store: ObjectStore
    queue: Queue
    mailer: Mailer
    clock: Clock
    random_source: RandomSource
    probe: Probe
    counter: RequestCounter
    background: BackgroundRunner
    plans: Plans
    links: LinkSigner
    passwords: Passwords
    policy: Policy
