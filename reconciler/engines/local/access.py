"""What frontends may ask of this engine: read from files, without a controller."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.core.names import valid_name
from reconciler.core.observed import Service
from reconciler.engines.base import Capability, EngineAccess, Given, ProjectCommand, Secrets
from reconciler.engines.connection import Connection
from reconciler.engines.local import log_tail
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import listener
from reconciler.engines.local.secrets import agent_secrets, env_file
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from reconciler.core.findings import Finding
    from reconciler.engines.base import Usage
    from reconciler.settings import Settings


def may_be_planted(pid: str, program: str) -> bool:
    """Tell whether a confined agent could have made the program that it runs: outside, that would act as the user.

    Args:
        pid: of a process that runs the program.
        program: its path, as that process sees it.
    """
    process = Path("/proc") / pid
    try:
        if process.joinpath("ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
            return False  # it is not confined, and needs no help of ours
        same = process.joinpath("exe").samefile(program)  # its /tmp is not ours
        return not same or not os.statvfs(f"/proc/{pid}/root{program}").f_flag & os.ST_RDONLY
    except OSError:
        return True


class LocalAccess:
    """The sandboxes of one home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.home

    def names(self) -> frozenset[str]:
        """Return the projects that have a sandbox."""
        try:
            return frozenset(
                path.name for path in self._home.sandboxes.iterdir() if valid_name(path.name) and path.is_dir()
            )
        except OSError:
            return frozenset()

    def connect(self, name: str, service: Service) -> Connection | None:
        """Return how a service is spoken to: its listener is proved to be its process."""
        sandbox, run = self._home.sandbox(name), self._run(name, service)
        port = int(run["port"]) if run else 0
        if not port or listener.find(sandbox.run, service.value, port) is None:
            return None
        env = env_file.read_env(sandbox.env_file)
        secret = env.server_password if service is Service.AGENT else env.bearer_token
        hidden = tuple(filter(None, (env.server_password, env.bearer_token)))
        url = f"http://127.0.0.1:{port}"
        return Connection(url=url, secret=secret, hidden=hidden, proof=sandbox.run, repo=sandbox.repo)

    def program(self, name: str, names: Collection[str]) -> str:
        """Return the program that listens; behind one of another name, what the `.env` names."""
        sandbox, run = self._home.sandbox(name), self._run(name, Service.AGENT)
        proof = listener.find(sandbox.run, Service.AGENT.value, int(run["port"])) if run else None
        if proof is None:
            return ""
        # Of the process that listens: in front of a confined one stands what confines it.
        listening = next(iter(proof.held)).split("/")[2]
        try:
            found = os.readlink(f"/proc/{listening}/exe")  # noqa: PTH115
        except OSError:
            return ""
        if Path(found).name in names and os.access(found, os.X_OK) and not may_be_planted(listening, found):
            return found if proof.holds() else ""
        return env_file.read_env(sandbox.env_file).opencode_bin

    def _run(self, name: str, service: Service) -> identity.Record:
        """Return the record of a service's run; empty without one."""
        place = identity.real_folder(str(self._home.sandbox(name).run))
        return identity.read_record(identity.RunFiles(place, service.value).run)

    def logs(self, name: str, service: Service, *, lines: int, follow: bool = False) -> Generator[bytes, None, None]:
        """Yield from the file that a service prints to, and from those that it was rotated into."""
        path = self._home.log_file(name, service.value)
        try:
            yield from log_tail.read(path, lines, follow=follow)
        except FileNotFoundError:
            raise UserError(f"cannot show the log of {name}: there is no {path}") from None

    def usage(self, name: str, service: Service, *, pss: bool = False) -> Usage | None:
        """Measure its processes."""
        measure = importlib.import_module("reconciler.engines.local.processes.usage")  # loads psutil
        found: Usage | None = measure.usage(self._home.sandbox(name).run, service.value, pss=pss)
        return found

    def disk(self, name: str) -> int | None:
        """Add up the blocks of the sandbox's files."""
        return files.blocks(self._home.sandbox(name).path)

    def secrets(self, name: str) -> Secrets:
        """Return what the `.env` has, without any value."""
        path = self._home.sandbox(name).env_file
        bad, problems = env_file.bad_secrets(path), env_file.read_env(path).problems
        return Secrets(keys=env_file.SECRETS, bad=bad, problems=problems, place=str(path))

    def set_secrets(self, name: str | None, values: Mapping[str, str]) -> str:
        """Write these keys into the `.env`, private, and leave the rest as it is."""
        path = self._home.shared_env if name is None else self._home.sandbox(name).env_file
        for key in values:
            if (name is None or key not in env_file.SECRETS) and (why := agent_secrets.unusable(key)):
                raise UserError(f"cannot keep {key} in {path}: it {why}")
        files.private_folder(path.parent)
        if values:
            env_file.set_secrets(path, dict(values))
        return str(path)

    def given(self, name: str) -> Given:
        """Return what is handed over now, as a start would."""
        found: Given = self._inspect().given(self._settings, name)
        return found

    def command(self, name: str, argv: Sequence[str]) -> ProjectCommand:
        """Return how a program runs where the agent does."""
        found: ProjectCommand = self._inspect().command(self._settings, name, argv)
        return found

    @staticmethod
    def _inspect() -> Any:  # noqa: ANN401  a module
        return importlib.import_module("reconciler.engines.local.world.inspect")  # with all that a launch needs

    def describe(self, name: str) -> str:
        """Return the sandbox's folder."""
        return str(self._home.sandbox(name).path)

    def capabilities(self) -> frozenset[Capability]:
        """Return that ports and secrets are of this machine, and usage can be measured."""
        return frozenset({Capability.FIXED_PORTS, Capability.PRIVATE_FILES, Capability.USAGE})

    def findings(self) -> tuple[Finding, ...]:
        """Return what there is to say about this machine."""
        # Loaded only here: it asks about everything, and a bridge or `status` about nothing of it.
        found: tuple[Finding, ...] = importlib.import_module("reconciler.engines.local.doctor.report").findings(
            self._settings
        )
        return found


def create(settings: Settings) -> EngineAccess:
    """Return the access to this engine."""
    return LocalAccess(settings)
