"""Run the probe agent as a project's agent, under the real keeper, and print what it could do, as JSON.

    python -m tests.support.probing FOLDER METHOD

Belongs here: a user's machine in a folder, with everything that is worth stealing. Does not belong here: attempts
(`probe_agent`), and what is expected of them (tests). A program of its own, so that it can run as another user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import settings as settings_module
from reconciler.core import spec as specs
from reconciler.core.observed import Ledger, Service
from reconciler.engines.local import launch
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.observe import Observer
from reconciler.engines.local.processes import processes, spawn
from reconciler.engines.local.toolchain import Toolchains
from reconciler.engines.local.world import world
from reconciler.system import files
from tests.support.bench import gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engines.local.launch import LaunchContext
    from reconciler.settings import Settings

NAME = "probe"
PROBE = Path(__file__).with_name("probe_agent.py")
CANARY = "canary-4711-worth-stealing"
PRIVATE = {
    "an SSH key": ".ssh/id_ed25519",
    "a GnuPG key": ".gnupg/private-keys-v1.d/key",
    "cloud credentials": ".aws/credentials",
    "cluster credentials": ".kube/config",
    "registry credentials": ".npmrc",
    "passwords of hosts": ".netrc",
    "git's credentials": ".git-credentials",
    "a forge's token": ".config/gh/hosts.yml",
    "a browser's profile": ".mozilla/firefox/profile/logins.json",
    "a keyring": ".local/share/keyrings/login.keyring",
    "a shell's history": ".bash_history",
}
"""Below a user's home."""
MANAGERS = {
    "the bridge's token": f"opencode-sandboxes/{NAME}/.env",
    "its run records": f"opencode-sandboxes/{NAME}/run/ledger.json",
    "a neighbour's .env": "opencode-sandboxes/neighbour/.env",
    "a neighbour's clone": "opencode-sandboxes/neighbour/repo/secret.py",
    "a neighbour's home": "opencode-sandboxes/neighbour/home/note",
    "a neighbour's deploy key": "opencode-keys/neighbour-deploy",
    "a neighbour's log": "opencode-logs/neighbour-opencode.log",
    "the manager's token": "opencode-controller/token",
    "the manager's state": "opencode-state.json",
    "the cookies of OpenCode's page": "opencode-controller/web/neighbour.json",
    "the history": "opencode-controller/events.jsonl",
    "needs of all projects": "opencode-controller/demands/neighbour.json",
    "secrets of all projects": ".env",
    "the trash": "opencode-trash/old/.env",
}
"""Below the manager's home."""
OWN = {
    "its own deploy key": f"opencode-keys/{NAME}-deploy",
    "its own host keys": f"opencode-sandboxes/{NAME}/run/known_hosts",
}
"""What it needs, below the manager's home."""


def furnish(folder: Path) -> Settings:
    """Make the user, the manager's home and everything in both."""
    home, root = folder / "user", folder / "user/.memory"
    places = [*(home / path for path in PRIVATE.values()), home / "notes.txt", folder / "outside/file"]
    places += [root / path for path in (*MANAGERS.values(), *OWN.values())]
    for path in places:
        files.private_folder(path.parent)
        path.write_text(f"# {CANARY}\n")
        path.chmod(0o600)
    readable = [folder, PROBE.parents[2], sys.prefix, sys.base_prefix]
    root.joinpath("opencode-settings.yaml").write_text(
        f"confinement: {{read: {json.dumps(list(map(str, readable)))}}}\n"
    )
    files.private_folder(folder / "specs")
    programs = f"{sys.base_prefix}/bin:{os.environ['PATH']}"  # a Python that can be seen inside
    environment = {**os.environ, "PATH": programs, "HOME": str(home), settings_module.HOME_VARIABLE: str(root)}
    settings = settings_module.load(specs=folder / "specs", environment=environment)
    sandbox = settings.home.sandbox(NAME)
    for place in (sandbox.repo, sandbox.home, sandbox.xdg, sandbox.tmp):
        files.private_folder(place)
    sandbox.env_file.write_text(
        f"OPENCODE_SERVER_PASSWORD=own-password-0123456789\nMCP_TOOL_BEARER_TOKEN={CANARY}\nOPENCODE_BIN={PROBE}\n"
    )
    return settings


def targets(settings: Settings, bridge: int, sockets: dict[str, int]) -> dict[str, Any]:
    """What the probe is after."""
    home, root = Path(settings.environment["HOME"]), settings.home.root
    read = {name: home / path for name, path in PRIVATE.items()}
    read |= {name: root / path for name, path in (MANAGERS | OWN).items()}
    write = {
        "the user's home": home,
        "a folder outside": home.parent / "outside",
        "the specs": settings.specs,
        "a neighbour's clone": root / "opencode-sandboxes/neighbour/repo",
        "the manager's home": root,
        "the answers to needs": root / "opencode-controller/demands",
        "/usr": Path("/usr"),
        "its own clone": Path(),
        "its own home": settings.home.sandbox(NAME).home,
        "/tmp": Path("/tmp"),  # noqa: S108
    }
    read["the user's notes"] = home / "notes.txt"
    return {
        "canary": CANARY,
        "key": str(home / ".ssh/id_ed25519"),
        "ssh": str(home / ".ssh"),
        "bridge": bridge,
        "read": {name: str(path) for name, path in read.items()},
        "write": {name: str(path) for name, path in write.items()},
        "sockets": sockets,
    }


def context(settings: Settings, method: str) -> LaunchContext:
    """The project as the engine would start it."""
    url = "git@host.invalid:user/app.git"
    spec = specs.parse({"git": {"url": url}, "confinement": method})
    observer = Observer(settings, Toolchains(settings), None)
    return observer.project(NAME, spec, Ledger(uid="1", ports={"agent": 4100, "bridge": 5100}))


async def run(project: LaunchContext) -> dict[str, bool]:
    """Start it as its agent, and wait for its end."""
    command = confine.ConfinedCommand(given=world.build(project), program=str(PROBE))
    job = launch.launch(project, Service.AGENT, str(PROBE), await confine.wrap(project, command))
    try:
        await processes.start(project.sandbox.run, "agent", job)
        while keeper := processes.observe(project.sandbox.run, "agent", processes.now()).keeper_pid:
            await gone(keeper)
    finally:
        spawn.fork_server.close()
    found: dict[str, bool] = json.loads(project.sandbox.repo.joinpath("found.json").read_text())
    return found


@contextlib.contextmanager
def listeners(*paths: Path) -> Iterator[None]:
    """Somebody listens on each of these sockets."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            files.private_folder(path.parent)
            listener.bind(str(path))
            listener.listen()
        yield


def main() -> None:
    """Furnish, run, print."""
    folder, method = Path(sys.argv[1]), sys.argv[2]
    settings = furnish(folder)
    project = context(settings, method)
    paths = (folder / "user/.docker/run/docker.sock", settings.home.logs / "hub")
    token = {"MCP_TOOL_BEARER_TOKEN": CANARY}
    with listeners(*paths), subprocess.Popen(["/bin/sleep", "1000"], env=token) as bridge:
        written = targets(settings, bridge.pid, dict.fromkeys(map(str, paths), int(socket.SOCK_STREAM)))
        project.sandbox.repo.joinpath("targets.json").write_text(json.dumps(written))
        try:
            print(json.dumps(asyncio.run(run(project))))  # noqa: T201  a program's output
        finally:
            bridge.kill()


if __name__ == "__main__":
    main()
