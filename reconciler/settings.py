"""The layout of the home folder, the environment variables, and their defaults. Opens and creates no file."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

HOME_VARIABLE: Final = "OPENCODE_MANAGER_HOME"
SPECS_VARIABLE: Final = "OPENCODE_MANAGER_SPECS"
PORT_VARIABLE: Final = "OPENCODE_MANAGER_PORT"
AGENT_PORTS_VARIABLE: Final = "OPENCODE_MANAGER_AGENT_PORTS"
BRIDGE_PORTS_VARIABLE: Final = "OPENCODE_MANAGER_BRIDGE_PORTS"
START_TIMEOUT_VARIABLE: Final = "OPENCODE_MANAGER_START_TIMEOUT"
LIVENESS_VARIABLE: Final = "OPENCODE_MANAGER_LIVENESS"
AGENT_STARTS_VARIABLE: Final = "OPENCODE_MANAGER_AGENT_STARTS"
WEDGED_VARIABLE: Final = "OPENCODE_MANAGER_WEDGED"


class UserError(Exception):
    """An error that the user can fix: one sentence that begins with "cannot" and says what to do."""


@dataclass(frozen=True)
class Sandbox:
    """The paths of one project's sandbox: `opencode-sandboxes/<name>/`."""

    path: Path

    @cached_property
    def env_file(self) -> Path:
        """The secrets, 0600."""
        return self.path / ".env"

    @cached_property
    def repo(self) -> Path:
        """The git clone that the agent works in."""
        return self.path / "repo"

    @cached_property
    def run(self) -> Path:
        """Run and exit records, locks, the ledger and the pinned host keys. 0700."""
        return self.path / "run"

    @cached_property
    def ledger(self) -> Path:
        """The ledger: generation, ports, restart counters of this project."""
        return self.run / "ledger.json"

    @cached_property
    def known_hosts(self) -> Path:
        """SSH host keys, pinned on first use, of this project alone."""
        return self.run / "known_hosts"

    @cached_property
    def home(self) -> Path:
        """HOME of the agent."""
        return self.path / "home"

    @cached_property
    def xdg(self) -> Path:
        """The parent of the agent's XDG data, config, state and cache folders."""
        return self.path / "xdg"

    @cached_property
    def tmp(self) -> Path:
        """TMPDIR of the agent: emptied before each start."""
        return self.path / "tmp"

    def pid_file(self, service: str) -> Path:
        """Return the file with the pid of the service itself (never the keeper's), for people and their scripts."""
        return self.path / ("opencode.pid" if service == "agent" else "mcp-tool.pid")


@dataclass(frozen=True)
class Home:
    """Everything the manager owns on disk, below one folder (`~/.memory` unless moved)."""

    root: Path

    @cached_property
    def sandboxes(self) -> Path:
        """The sandboxes, one folder per project."""
        return self.root / "opencode-sandboxes"

    @cached_property
    def shared_env(self) -> Path:
        """The secrets that the agents of all projects share, 0600; it need not exist."""
        return self.root / ".env"

    @cached_property
    def keys(self) -> Path:
        """Generated deploy keys."""
        return self.root / "opencode-keys"

    @cached_property
    def logs(self) -> Path:
        """The logs of the services."""
        return self.root / "opencode-logs"

    @cached_property
    def state_file(self) -> Path:
        """The published index of status: derived, never the truth."""
        return self.root / "opencode-state.json"

    @cached_property
    def toolchains(self) -> Path:
        """Agent programs provided by the manager, one folder per version."""
        return self.root / "opencode-toolchains"

    @cached_property
    def trash(self) -> Path:
        """Destroyed sandboxes, kept for a while."""
        return self.root / "opencode-trash"

    @cached_property
    def controller(self) -> Path:
        """The controller's own files: its lock, its HTTP token, its log. 0700."""
        return self.root / "opencode-controller"

    @cached_property
    def _sandboxes(self) -> dict[str, Sandbox]:
        """The sandboxes asked for so far: building all paths on each observation took a tenth of its time."""
        return {}

    def sandbox(self, name: str) -> Sandbox:
        """Return the sandbox of one project."""
        return self._sandboxes.get(name) or self._sandboxes.setdefault(name, Sandbox(self.sandboxes / name))

    def forget(self, name: str) -> None:
        """Drop what is kept in memory of a project that is gone."""
        self._sandboxes.pop(name, None)

    def deploy_key(self, name: str) -> Path:
        """Return the private deploy key; the public one is beside it with `.pub`."""
        return self.keys / f"{name}-deploy"

    def log_file(self, name: str, service: str) -> Path:
        """Return the log of one service."""
        return self.logs / f"{name}-{'opencode' if service == 'agent' else 'mcp-tool'}.log"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One controller's settings. Durations are seconds."""

    home: Home
    specs: Path
    development: bool = False
    """Development mode makes secrets by itself; production (the default) waits for a person to set them."""
    http_port: int = 4099
    """Port of the controller's own MCP endpoint on 127.0.0.1; 0 picks a free one."""
    agent_ports: tuple[int, int] = (4100, 4199)
    bridge_ports: tuple[int, int] = (5100, 5199)
    settle: float = 0.08
    """A spec file is read only when it has not changed for this long."""
    settle_open: float = 2.0
    """The same for a file that does not end with a newline, which may be half-written, and for a vanished one."""
    resync: float = 30.0
    """Period of the full rescan of spec files and other files that people edit, watch events or not."""
    poll: float = 5.0
    """Period of polling what no watch reports: the place of the specs folder, the target of a link."""
    agent_starts: int = 2
    """Agents starting at once: each start costs seconds of CPU (facts: 1.5 s alone, 15 s for 8 on 2 cores)."""
    clones: int = 16
    start_timeout: float = 60.0
    liveness: float = 10.0
    """A ready service is probed this often."""
    wedged_after: float = 60.0
    """A service that is unresponsive and idle for this long is restarted."""
    trash_days: float = 7.0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The controller's own environment: PATH, HOME and locale reach the children through an allow-list."""
    notes: tuple[str, ...] = ()
    """Oddities of the environment that are no errors: `run` prints them once."""

    @property
    def ports(self) -> dict[str, tuple[int, int]]:
        """Return the range by service from which ports are picked, and in which fixed ones must lie."""
        return {"agent": self.agent_ports, "bridge": self.bridge_ports}


_READERS: Final[dict[str, tuple[str, Callable[[Mapping[str, str]], Any]]]] = {
    PORT_VARIABLE: ("http_port", lambda env: _port(env.get(PORT_VARIABLE) or "4099")),
    AGENT_PORTS_VARIABLE: ("agent_ports", lambda env: _range(env, AGENT_PORTS_VARIABLE, "4100-4199")),
    BRIDGE_PORTS_VARIABLE: ("bridge_ports", lambda env: _range(env, BRIDGE_PORTS_VARIABLE, "5100-5199")),
    AGENT_STARTS_VARIABLE: ("agent_starts", lambda env: _count(env, AGENT_STARTS_VARIABLE, 2)),
    START_TIMEOUT_VARIABLE: ("start_timeout", lambda env: _seconds(env, START_TIMEOUT_VARIABLE, 60.0)),
    LIVENESS_VARIABLE: ("liveness", lambda env: _seconds(env, LIVENESS_VARIABLE, 10.0)),
    WEDGED_VARIABLE: ("wedged_after", lambda env: _seconds(env, WEDGED_VARIABLE, 60.0)),
}
"""By variable: the setting it gives, and how it is read."""
ALL_VARIABLES: Final = frozenset(_READERS)
"""The variables with values that can be wrong."""
_MODES: Final = {"development": True, "dev": True, "production": False, "prod": False, "": False}
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH where there is none, as systemd sets it, so that git, ssh and npm are found."""


def load(
    *,
    specs: Path | None = None,
    environment: Mapping[str, str] | None = None,
    needed: Collection[str] = ALL_VARIABLES,
) -> Settings:
    """Load the settings from the environment.

    Args:
        specs: the specs folder named by a flag, which wins over the environment.
        environment: the environment; None means that of this process.
        needed: the variables that matter to the caller. A wrong value of any other gives way to its default.

    Raises:
        UserError: a needed variable cannot be understood, or there is no home folder.
    """
    env = dict(os.environ if environment is None else environment)
    env["PATH"] = env.get("PATH") or _DEFAULT_PATH
    home = Home(_root(env))
    env["HOME"] = env.get("HOME") or _passwd_home() or "/"
    mode = env.get("ENVIRONMENT", "").strip().lower()
    usable = {key: value for key, value in env.items() if key not in ALL_VARIABLES or key in needed or _sound(key, env)}
    return Settings(
        home=home,
        specs=absolute(specs or default_specs(home, env)),
        development=_MODES.get(mode, False),
        **{field: read(usable) for field, read in _READERS.values()},
        environment=env,
        notes=() if mode in _MODES else (_odd_mode(env["ENVIRONMENT"]),),
    )


def _sound(variable: str, env: Mapping[str, str]) -> bool:
    try:
        _READERS[variable][1](env)
    except UserError:
        return False
    return True


def _odd_mode(value: str) -> str:
    # Other programs use this variable too: their values are no mistake.
    return f"ENVIRONMENT={_shown(value)} is neither development nor production: it is taken as production"


def _root(env: Mapping[str, str]) -> Path:
    """Return the manager's home folder."""
    if given := env.get(HOME_VARIABLE):
        return absolute(Path(given), HOME_VARIABLE)
    home = env.get("HOME") or _passwd_home()
    if not home:
        raise UserError(
            f"cannot find a home folder: HOME is not set, and user {os.getuid()} has no entry in the system's list of "
            f"users; set HOME or {HOME_VARIABLE}"
        )
    if not os.path.isabs(home):  # noqa: PTH117  pathlib would need it to be a path first
        raise UserError(f"cannot use HOME={_shown(home)}: set it, or {HOME_VARIABLE}, to a path that begins with /")
    return Path(home) / ".memory"


def _passwd_home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def absolute(path: Path, what: str = "") -> Path:
    """Return the absolute path, with `~` replaced.

    Args:
        path: as a person gave it.
        what: the variable that it comes from.

    Raises:
        UserError: there is no such user, or the current folder is gone.
    """
    what = f"{what}={str(path)!r}" if what else f"the folder {path}"
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise UserError(f"cannot use {what}: there is no such user; name it by a path that begins with /") from None
    except FileNotFoundError:
        raise UserError(
            f"cannot use {what}: the current folder was deleted; name it by a path that begins with /, or change to "
            "another folder"
        ) from None


def default_specs(home: Home, env: Mapping[str, str]) -> Path:
    """Return the specs folder without a flag: the variable, `./specs` where there is one, else one in the home."""
    if env.get(SPECS_VARIABLE):
        return Path(env[SPECS_VARIABLE])
    # os.path says False where pathlib raises: of a current folder that was deleted, or may not be read.
    if os.path.isdir("specs"):  # noqa: PTH112
        return Path.cwd() / "specs"
    return home.root / "opencode-specs"


def _shown(value: str) -> str:
    """Shorten a value for a sentence."""
    return repr(value if len(value) <= 40 else f"{value[:40]}...")


def _port(text: str) -> int:
    if text.isdecimal() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise UserError(f"cannot use {PORT_VARIABLE}={_shown(text)}: give a port number from 0 to 65535")


def _seconds(env: Mapping[str, str], variable: str, default: float) -> float:
    try:
        value = float(env.get(variable) or default)
    except ValueError:
        value = 0.0
    if 0.1 <= value < 1e6:
        return value
    raise UserError(f"cannot use {variable}={_shown(env[variable])}: give a number of seconds like {default:.0f}")


def _count(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= 100:
        return int(text)
    raise UserError(f"cannot use {variable}={_shown(text)}: give a number from 1 to 100, like {default}")


def _range(env: Mapping[str, str], variable: str, default: str) -> tuple[int, int]:
    low, _, high = (env.get(variable) or default).partition("-")
    if low.isdecimal() and high.isdecimal() and len(low + high) <= 10 and 1024 <= int(low) <= int(high) <= 65535:
        return int(low), int(high)
    raise UserError(f"cannot use {variable}={_shown(env[variable])}: give two ports like {default}")
