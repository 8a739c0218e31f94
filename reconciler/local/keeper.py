"""The keeper: a tiny parent that holds one service, outlives the controller, and leaves nothing behind.

A program of its own: `keeper.py RUN_DIR SERVICE [--adopt]`, in practice forked by `keeper.py --nursery`. The job comes
as JSON on stdin, the answer goes to stdout.

Belongs here: the order of a keeper's life. Its parts are `starting`, `holding`, `tree` and `proofs`: they import little
of the standard library and nothing of ours but each other, because there is one keeper for each service. (This file is
short because a program's own file is compiled at each start; what it imports is not. That saves half a megabyte each.)
Does not belong here: deciding what runs or when; anything that must change more often than services are restarted.

Three rules. A child runs only once its record is durable. A signal goes only to a process that was proved. A run is
over only when nothing of it is left.
"""

from __future__ import annotations

import contextlib
import os
import sys

# Started by its path and isolated: what it needs of ours is found from there, after the standard library.
sys.path.append(os.path.abspath(__file__).rpartition("/reconciler/")[0])  # noqa: PTH100  pathlib costs half a megabyte

from reconciler import crash
from reconciler.local import nursery, proofs, starting

REFUSED = 75
"""Exit status when somebody else holds the service: nothing was started."""
FAILED = 1


def main(run_dir: str, service: str, *options: str) -> int:
    """Start or adopt, answer, and hold until the end."""
    with contextlib.suppress(PermissionError):  # leads a session already
        os.setsid()
    os.closerange(3, 1 << 16)
    os.umask(0o077)
    place = proofs.Place(proofs.real_folder(run_dir), service)
    try:
        holder = starting.adopt(place) if "--adopt" in options else starting.start(place)
    except proofs.Held as refusal:
        starting.answer(f"held: {refusal}")
        return REFUSED
    except OSError as error:
        starting.answer(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))
        return FAILED
    if holder is None:
        return FAILED
    crash.point("after-answer")
    holder.hold()
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--nursery":
        sys.exit(nursery.serve(main, [sys.executable, "-I", "-S", __file__]))
    sys.exit(main(*sys.argv[1:]))
