"""The keeper: a tiny parent that supervises one service, outlives the controller, and leaves nothing behind.

A program of its own, started as the fork server, which waits for requests. Each request gets a keeper, and a starter as
its child, which prepares everything, writes the run record, hands all of it over and becomes the service. (To adopt a
service, the starter ends then.) So what only a start needs, a megabyte, is not kept while the service runs. Its parts
import little of the standard library and nothing of ours but each other, because there is one keeper per service. (This
file is short because a program's own file is compiled at each start; what it imports is not.)

Three rules: a service runs only once its record is durable; a signal goes only to a verified process; a run is over
only when nothing of it is left.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import sys

# Started by its path and isolated: what it needs of ours is found from there, after the standard library.
sys.path.append(os.path.abspath(__file__).rpartition("/reconciler/")[0])  # noqa: PTH100  pathlib costs half a megabyte

from reconciler.engines.local.keeper import fork_server, handover, identity, log_watch, starting, warmup
from reconciler.engines.local.keeper.supervising import Signals, Supervisor
from reconciler.system import failpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # without its enumerations, which cost every keeper a tenth of a megabyte

REFUSED = 75
"""Exit status when somebody else holds the service: nothing was started."""
FAILED = 1


def prepare() -> None:
    """Prepare what all keepers share."""
    log_watch.prepare()
    warmup.warm_up()


def live(channel: _socket.socket, request_pipe: int, name: fork_server.Name) -> int:
    """Run the keeper: wait for what its starter hands over, answer, and supervise it until the end."""
    # Early: what was written to before a fork is copied once more after it. An end is not missed: it waits for us.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.umask(0o077)
    starting.become_subreaper()  # before there is anybody who could leave orphans
    inbox, outbox = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    me = (os.getpid(), os.pidfd_open(os.getpid()))
    if os.fork() == 0:
        inbox.close()
        os._exit(start(channel, request_pipe, name, me, outbox))
    signals = Signals()
    os.setsid()
    for handle in (request_pipe, me[1], outbox.detach()):
        os.close(handle)
    os.dup2(1, 0)  # nothing
    taken = handover.take(inbox)
    if taken is None:
        return FAILED
    inbox.close()
    kept, answers, log = taken
    if kept.point:
        os.environ[failpoint.VARIABLE] = kept.point
    failpoint.point("before-answer")
    name.write(kept.place.folder, kept.place.service, *([] if kept.ancestor else ["--adopt"]))
    os.dup2(log, 2)
    os.close(log)
    if kept.ancestor:
        starting.write_pid_file(kept.run)
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, (starting.problem(kept, signals) or "started").encode())
    os.close(answers)
    failpoint.point("after-answer")
    Supervisor(kept, signals, log=2).hold()
    return 0


def start(
    channel: _socket.socket, request_pipe: int, name: fork_server.Name, keeper: tuple[int, int], outbox: _socket.socket
) -> int:
    """Run the starter: serve one request, hand the run to the keeper, and become the service."""
    signals = Signals()
    arguments = fork_server.take_request(channel, request_pipe, keeper[1])
    if not arguments or identity.has_ended(keeper[1]):  # somebody killed it while it waited
        return FAILED
    run_dir, service, *options = arguments
    name.write(*arguments)
    place = identity.RunFiles(identity.real_folder(run_dir), service)
    try:
        job = None if "--adopt" in options else starting.read_job()
        kept = starting.adopt(place, keeper) if job is None else starting.start(place, job, keeper, signals)
    except identity.Held as refusal:
        answer(f"held: {refusal}")
        return REFUSED
    except OSError as error:
        answer(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))
        return FAILED
    kept.stopping, kept.point = signals.let_go(), os.environ.get(failpoint.VARIABLE, "")
    try:
        handover.give(outbox, kept)
    except OSError:  # the keeper was killed: what runs is adopted by the next one
        return FAILED
    failpoint.point("after-handover")
    if job is not None:
        starting.become(job, kept)
    return 0


def answer(text: str) -> None:
    """Answer the controller, if it is still there."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, text.encode())


if __name__ == "__main__":
    sys.exit(fork_server.serve(live, prepare, [sys.executable, "-I", "-S", __file__]))
