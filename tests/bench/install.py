"""All supervisors, each installed as its users would have it, into a cache folder, once.

The others by name; ours from this tree, without the tools of its tests: they bring libraries that other libraries load
when they are there, as structlog does rich.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.system.files import LockFile

PYTHON_PACKAGES: Final = ("supervisor", "circus")
NODE_PACKAGES: Final = ("pm2",)
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """Where they are."""

    cache: Path

    @property
    def python(self) -> Path:
        """The interpreter that supervisord and circus run with: the same as ours."""
        return self.cache / f"python-{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "python"

    @property
    def ours(self) -> Path:
        """The interpreter that ours runs with; another one when what ours needs has changed."""
        needs = hashlib.sha256(ROOT.joinpath("pyproject.toml").read_bytes() + str(ROOT).encode()).hexdigest()[:12]
        return self.cache / f"ours-{needs}-{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "python"

    @property
    def node_modules(self) -> Path:
        """Where pm2 is."""
        return self.cache / "node" / "node_modules"

    def script(self, name: str) -> str:
        """A program of a Python package."""
        python = self.ours if name == "opencode-manager" else self.python
        return str(python.with_name(name))

    @property
    def pm2(self) -> str:
        """The program."""
        return str(self.node_modules / ".bin" / "pm2")

    def versions(self) -> dict[str, str]:
        """By package."""
        command = _pip(self.python, "list", "--format=json")
        listed = subprocess.run(command, capture_output=True, check=True, text=True)
        found = {each["name"]: each["version"] for each in json.loads(listed.stdout) if each["name"] in PYTHON_PACKAGES}
        return found | {
            name: json.loads((self.node_modules / name / "package.json").read_text())["version"]
            for name in NODE_PACKAGES
        }


def cache_folder() -> Path:
    """Below the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opencode-manager-bench"


def install() -> Installed:
    """Install what is missing."""
    found = Installed(cache_folder())
    found.cache.mkdir(parents=True, exist_ok=True)
    lock = LockFile(found.cache / "lock", wait=True)  # another run may be at it
    try:
        _install_missing(found)
    finally:
        lock.close()
    return found


def _install_missing(found: Installed) -> None:
    if not found.ours.with_name("opencode-manager").exists():
        _make(found.ours, "-e", str(ROOT))
    if not all(Path(found.script(name)).exists() for name in ("supervisord", "circusd")):
        _make(found.python, *PYTHON_PACKAGES)
    if not Path(found.pm2).exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("cannot install pm2: npm is not on PATH; install Node.js with npm")
        prefix = str(found.node_modules.parent)
        run(npm, "install", "--prefix", prefix, "--ignore-scripts", "--no-audit", "--no-fund", *NODE_PACKAGES)


def _make(python: Path, *packages: str) -> None:
    """A virtual environment with these packages, whose interpreter is there then."""
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(python.parents[1]))
    run(*_pip(python, "install", "-q", *packages))


def _pip(python: Path, *arguments: str) -> list[str]:
    """Our own pip works in other environments too: to install one in each takes as long as all that it installs."""
    return [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]


def run(*command: str) -> None:
    """Run an installer; what it says goes to stderr."""
    print(f"installing: {' '.join(command)}", file=sys.stderr)  # noqa: T201  a program's output
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise SystemExit(f"cannot install the supervisors to compare with: {' '.join(command)} failed")
