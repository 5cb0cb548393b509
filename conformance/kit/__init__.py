"""The kit that a check works with: clients, uploads, batches, accounts and clean-up."""

from __future__ import annotations

from random import Random
from secrets import token_hex
from typing import TYPE_CHECKING

from conformance.accounts import Accounts
from conformance.client import Client, Transport
from conformance.kit.batches import Batches
from conformance.kit.callers import Callers
from conformance.kit.cleanup import Cleanup
from conformance.kit.images import Images
from conformance.kit.once import Once
from conformance.redaction import Secrets

if TYPE_CHECKING:
    from conformance.options import Options


class Kit:
    """One run against one server. All names created there contain ``tag``, and ``close`` deletes them."""

    def __init__(self, options: Options) -> None:
        """Open the connections of a run; no request is sent yet.

        The tag is random and not derived from the seed. Raise OSError if ``ca_file`` is not readable.
        """
        self.options = options
        self.random = Random(options.seed)  # noqa: S311  # repeatable, not secret
        # Independent of the seed: two runs with one seed may use one account at the same time.
        self.tag = f"uprez-kit-{token_hex(4)}"
        given = {"TOKEN": options.token, "TOKEN_B": options.token_b, "PASSWORD": options.password}
        self.secrets = Secrets(given, plain=options.base_url)
        self.transport = self.new_transport()
        self.once = Once(self.transport)
        self.owner = Client(self.transport, options.token)
        self.callers = Callers(self.transport, options)
        self.accounts = Accounts(self.transport, self.tag)
        self.cleanup = Cleanup(self.transport, self.owner, self.tag)
        self.images = Images(self.owner, self.cleanup, self.tag, options.work_timeout, self.once)
        self.batches = Batches(self.owner, self.cleanup, self.tag, options.work_timeout)

    def new_transport(self) -> Transport:
        """Return a transport with its own connections and record.

        It shares the secrets, and the caller closes it.
        """
        return Transport(
            self.options.base_url,
            timeout=self.options.timeout,
            max_wait=self.options.max_wait,
            secrets=self.secrets,
            ca_file=self.options.ca_file,
        )

    def reseed(self, name: str) -> None:
        """Replace ``random`` by one seeded with the seed and ``name``.

        A requirement then draws the same alone and in a whole run.
        """
        self.random = Random(f"{self.options.seed} {name}")  # noqa: S311

    def close(self) -> list[str]:
        """Delete the images and batches of the run, log out its tokens, and close the connections.

        Return a message for each item that may remain. Created accounts remain without a message.
        """
        left = self.cleanup.delete_all()
        self.accounts.close()
        self.transport.close()
        return left
