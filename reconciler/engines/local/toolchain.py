"""Find the agent's program, and install a version that is missing.

npm checks the integrity of what it fetches; no script of any package runs. The platform package is asked for directly,
because the meta package needs its post-install script.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core import env_keys
from reconciler.engines.local.facts import ToolchainFacts
from reconciler.engines.local.git import subprocesses
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from reconciler.agents.base import Package
    from reconciler.settings import Settings

INSTALL_TIMEOUT = 900.0
"""Seconds for npm to fetch some 200 MB over a slow line."""


class Toolchains:
    """The folder of provided versions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._installing: dict[str, asyncio.Lock] = {}

    def find(self, kind: Package, *, named: str, version: str | None) -> ToolchainFacts:
        """Find the program: named in `.env`, else pinned, else installed by the user, else provided by default."""
        if named:
            return ToolchainFacts(path=named)
        if version is None:
            path = self._installed_by_user(kind) or self._provided(kind, kind.default_version)
            return ToolchainFacts(path=path, version=kind.default_version)
        return ToolchainFacts(path=self._provided(kind, version), version=version)

    def folder(self, kind: Package, version: str) -> Path:
        """Return where this version is, or will be."""
        return self._settings.home.toolchains / f"{kind.name}-{version}"

    async def provide(self, kind: Package, version: str) -> Path:
        """Install this version; the program's path.

        Raises:
            UserError: npm is missing, or could not fetch it.
        """
        async with self._installing.setdefault(version, asyncio.Lock()):
            if found := self._provided(kind, version):
                return Path(found)
            return await self._install(kind, version)

    async def _install(self, kind: Package, version: str) -> Path:
        package = f"{kind.package}-{platform_name()}@{version}"
        npm = shutil.which("npm", path=self._settings.environment.get("PATH"))
        if npm is None:
            raise UserError(
                f"cannot provide {kind.name} {version}: npm is not on PATH; install Node.js with npm, or install "
                f"{kind.name} yourself and set {env_keys.PROGRAM} in the sandbox's .env to it"
            )
        parent = files.private_folder(self._settings.home.toolchains)
        with tempfile.TemporaryDirectory(prefix=f".{kind.name}-{version}.", dir=parent) as temporary:
            argv = [npm, "install", "--prefix", temporary, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
            result = await subprocesses.run(
                [*argv, "--loglevel=error", "--", package],
                env=dict(self._settings.environment),
                cwd=Path(temporary),
                timeout=INSTALL_TIMEOUT,
            )
            if result.code != 0:
                raise UserError(f"cannot provide {package}: {_why(result.err)}")
            program = Path(temporary) / "node_modules" / f"{kind.package}-{platform_name()}" / "bin" / kind.programs[0]
            if not os.access(program, os.X_OK):
                raise UserError(f"cannot provide {package}: it has no program bin/{kind.programs[0]}")
            await asyncio.to_thread(_put_in_place, program, Path(temporary), self.folder(kind, version))
        return Path(self._provided(kind, version))

    def _provided(self, kind: Package, version: str) -> str:
        program = self.folder(kind, version) / "bin" / kind.programs[0]
        return str(program) if os.access(program, os.X_OK) else ""

    def _installed_by_user(self, kind: Package) -> str:
        environment = self._settings.environment
        for program in kind.programs:
            if found := shutil.which(program, path=environment.get("PATH")):
                return str(Path(found).absolute())
        places = [Path(environment.get("HOME", "/")) / place for place in kind.usual_places]
        return next((str(place) for place in places if os.access(place, os.X_OK)), "")


def _why(errors: str) -> str:
    """Return the most telling line of npm's errors: the first after its code."""
    lines = [line.removeprefix("npm error ").strip() for line in errors.splitlines()]
    reasons = [line for line in lines if line and not line.startswith("code ") and "complete log" not in line]
    return reasons[0] if reasons else "npm gave no reason"


def _put_in_place(program: Path, temporary: Path, folder: Path) -> None:
    """Rename the whole folder, so that a version is there whole or not at all."""
    (temporary / "bin").mkdir()
    program.rename(temporary / "bin" / program.name)
    shutil.rmtree(folder, ignore_errors=True)  # one without its program
    temporary.rename(folder)
    temporary.mkdir()  # TemporaryDirectory expects its folder to be there when it cleans up


def platform_name() -> str:
    """Return the suffix of npm platform packages here, such as `linux-x64` or `linux-x64-baseline-musl`."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    baseline = "-baseline" if machine == "x64" and not _has_avx2() else ""
    musl = "-musl" if platform.libc_ver()[0] != "glibc" else ""
    return f"linux-{machine}{baseline}{musl}"


def _has_avx2() -> bool:
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
