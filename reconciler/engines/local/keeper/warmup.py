"""Run a keeper's code paths once in the fork server, so that its forks share the warmed-up pages.

What Python writes when something runs for the first time (types, caches, specialised code) lies on pages that a fork
shares until it writes to them. Warming up once makes each keeper a tenth smaller (0.12 of 1.17 MB, measured). Leaves
nothing behind. Standard library only, imports only the keeper's own parts.
"""

from __future__ import annotations

import _socket
import os

from reconciler.engines.local.keeper import handover, identity
from reconciler.engines.local.keeper.handover import RunHandle
from reconciler.engines.local.keeper.supervising import Signals, Supervisor

NOWHERE = "/dev/null"
"""As a folder: nothing can be written below it."""


def warm_up() -> None:
    """Hand over and supervise a service that ends at once and is recorded nowhere. Takes about a millisecond."""
    inbox, outbox = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    signals = Signals()
    service = os.fork()
    if service == 0:
        os._exit(0)
    run = {**identity.nobodys_run(), "leader": {"pid": service, "start": 0, "inode": 0}}
    handover.give(outbox, RunHandle(identity.RunFiles(NOWHERE, "agent"), run, {}, ancestor=True))
    if taken := handover.take(inbox):
        kept, *handles = taken
        Supervisor(kept, signals).hold()
        for handle in handles:
            os.close(handle)
    inbox.close()
    outbox.close()
    signals.close()
