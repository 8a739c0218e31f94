"""Give a project the user's git settings, less what hands out credentials and keys.

One file for each project, made from all that the user's git reads, in force through GIT_CONFIG_SYSTEM for the agent and
for the manager's own git. So it lies below every other place of settings: the agent may still set anything for itself
with `git config --global`, in its own home; and it is out of that home, where nothing is the agent's to write. It takes
the place of the system's file, which is therefore part of it. Git reads it at each run: a change restarts nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import Handed, LeftOut
from reconciler.core import git_url
from reconciler.engines.local.git.causes import GitProblem, plain
from reconciler.engines.local.git.git_world import PROTOCOLS, Rewrites
from reconciler.engines.local.world import git_rules, git_settings
from reconciler.engines.local.world.git_settings import Reader, Setting, parse, stamp, written
from reconciler.engines.local.world.world import AUTHORITIES
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.engines.local.world.git_settings import Stamp
    from reconciler.settings import Sandbox

_HELPERS: Final = (
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
    *("DBUS_SESSION_BUS_ADDRESS", "GH_CONFIG_DIR", "GLAB_CONFIG_DIR", "GNUPGHOME", "PASSWORD_STORE_DIR"),
)
"""Variables by which credential helpers find what they keep."""
_LOGS_IN: Final = "it lets one log in as you: set git.credentials: user in the spec to hand it over"
_OWN_IDENTITY: Final = re.compile(r'\[user\]\n(?:\t(?:name|email) = "(?:[^"\\\n]|\\.)*"\n)+')
"""A `.gitconfig` as versions up to 0.1 wrote it into the agent's home."""


@dataclass(frozen=True, kw_only=True)
class GitConfigRequest:
    """What a project's git settings depend on, besides the files that are read."""

    sandbox: Sandbox
    url: str
    """What git is given for the repository."""
    user: bool
    """Whether the user's ways to log in are handed over."""
    environment: Mapping[str, str] = field(repr=False)
    """The controller's."""
    variables: Mapping[str, str]
    """Of the spec, for the agent."""


@dataclass(frozen=True, kw_only=True)
class GitConfig:
    """The git settings of one project."""

    url: str = ""
    """What git is given for the repository."""
    text: bytes | None = field(default=b"", repr=False)
    """Of the user's, for the agent and for the manager; None: what is there from before stays."""
    own_text: bytes = field(default=b"", repr=False)
    """Of the agent's own, for the manager."""
    folder: Path | None = None
    """Where both are put; None: nowhere, and none of this is in force."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """By which they are in force."""
    rewrites: Rewrites = field(default_factory=Rewrites)
    protocols: tuple[str, ...] = PROTOCOLS
    handed: tuple[Handed, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    kept_back: tuple[str, ...] = ()
    """As `GitWorld` has it."""
    problem: GitProblem | None = None
    consulted: Mapping[str, Stamp] = field(default_factory=dict)
    netrc: Handed | None = None
    """The user's file of passwords, which a login over https looks for at home; handed over if it is among `handed`."""

    @property
    def fetch_url(self) -> str:
        """Return the URL that git really fetches from, by the rules of the user's settings."""
        return self.rewrites.fetched(self.url)

    @property
    def needs_key(self) -> bool:
        """Tell whether git reaches the repository by ssh, to fetch or to push."""
        urls = (self.fetch_url, self.rewrites.pushed(self.url))
        return any(git_url.transport(url) is git_url.Transport.SSH for url in urls)

    @property
    def ssh_agent(self) -> bool:
        """Tell whether the user's SSH agent is handed over."""
        return "SSH_AUTH_SOCK" in self.variables

    @property
    def manager_variables(self) -> dict[str, str]:
        """Return what the manager's git gets beside the agent's variables: of the agent's own settings the harmless."""
        return {"GIT_CONFIG_GLOBAL": str(self.folder / "own")} if self.folder else {}

    def put(self) -> None:
        """Write the files, unless they are as they must be."""
        if self.folder and self.folder.parent.is_dir():  # else there is no sandbox, and this is no reason to make one
            files.private_folder(self.folder)
            if self.text is not None:
                files.keep_file(self.folder / "user", self.text)
            files.keep_file(self.folder / "own", self.own_text)
            self._link_netrc()

    def _link_netrc(self) -> None:
        """Link the user's file of passwords into the agent's home, or remove that link; what the agent made stays."""
        if self.netrc is None:
            return
        place, wanted = self.netrc.place, self.netrc in self.handed
        if place.is_symlink() and place.readlink() == self.netrc.source and not wanted:
            place.unlink()
        elif wanted and not place.is_symlink() and not place.exists():
            place.symlink_to(self.netrc.source)

    @property
    def fresh(self) -> bool:
        """Tell whether no file that it was made from has changed."""
        return all(stamp(path) == state for path, state in self.consulted.items())


_known: dict[Path, tuple[GitConfigRequest, GitConfig]] = {}
"""By sandbox: the last settings, for as long as nothing changes."""


def known(request: GitConfigRequest) -> GitConfig | None:
    """Return the settings of a project where nothing has changed since they were read; else None."""
    last = _known.get(request.sandbox.path)
    return last[1] if last is not None and last[0] == request and last[1].fresh else None


def read(request: GitConfigRequest) -> GitConfig:
    """Return the settings of a project as they are now. Runs git when a file has changed.

    Settings that cannot be read are no reason to take from an agent those that it has: they stay in force.
    """
    if (found := known(request)) is None:
        old = _known.get(request.sandbox.path)
        last = old[1] if old else GitConfig(text=None)
        # Of one that may no longer log in as the user, nothing stays.
        found = _Making(request).made(last if not old or old[0].user == request.user else GitConfig())
        _known[request.sandbox.path] = request, found
    return found


def forget(sandbox: Sandbox) -> None:
    """Drop what is kept of a project that is gone."""
    _known.pop(sandbox.path, None)
    git_settings.forget(sandbox.path)


def user_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of the user's settings, in git's order; they need not be there."""
    if given := environment.get("GIT_CONFIG_GLOBAL"):
        return (Path(given),)
    home = Path(environment.get("HOME", "/"))
    return _config_folder(environment) / "config", home / ".gitconfig"


def _config_folder(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config") / "git"


def has_old_identity(home: Path) -> bool:
    """Tell whether an agent's home has the `.gitconfig` that earlier versions wrote there, just as they wrote it."""
    path = home / ".gitconfig"
    try:
        about = path.lstat()
        # One that somebody has added to, and any other kind of thing, is the agent's.
        ours = stat.S_ISREG(about.st_mode) and about.st_size < 4096
        return ours and _OWN_IDENTITY.fullmatch(path.read_text()) is not None
    except (OSError, ValueError):
        return False


class _Making:
    """Make the settings of one project."""

    def __init__(self, request: GitConfigRequest) -> None:
        self._request = request
        environment, sandbox = request.environment, request.sandbox
        self._home = Path(environment.get("HOME", "/"))
        self._folder = sandbox.run / "git"
        self._config = _config_folder(environment)
        self._path = environment.get("PATH", os.defpath)
        self._reader = Reader(home=self._home, gitdir=sandbox.repo / ".git", url=request.url, path=self._path)
        self._left_out: dict[str, LeftOut] = {}
        self._handed: dict[Path, Handed] = {}
        self._kept_back: set[str] = set()
        self._helpers = False
        self._netrc = Handed(source=self._home / ".netrc", place=sandbox.home / ".netrc", how="link")

    def made(self, last: GitConfig) -> GitConfig:
        try:
            mine = self._users()
        except GitProblem as error:
            warnings = (f"{error}; {error.advice}" if error.advice else str(error),)
            kept = replace(last, folder=self._folder, variables=self._variables(), warnings=warnings)
            return replace(kept, url=self._request.url, problem=error, consulted=dict(self._reader.consulted))
        own, own_consulted = self._agents()
        self._hand_netrc()
        self._hand_credentials()
        self._hand_authorities()
        return GitConfig(
            url=self._request.url,
            text=written(mine),
            own_text=written(own),
            folder=self._folder,
            variables=self._variables(),
            rewrites=git_rules.rewrites(mine),
            protocols=git_rules.protocols(mine),
            handed=(self._as_is(self._folder), *self._handed.values()),
            left_out=tuple(self._left_out.values()),
            warnings=self._warnings(),
            kept_back=tuple(sorted(self._kept_back)),
            consulted=self._reader.consulted | own_consulted,
            netrc=self._netrc,
        )

    # -- the user's ------------------------------------------------------------------------------------------------

    def _users(self) -> list[Setting]:
        """Return what is in force of the settings that the user's git reads, in its order."""
        found = list(self._reader.system())
        for place in user_files(self._request.environment):
            found += self._reader.file(place)
        found = [self._there(setting) for setting in found if self._may_pass(setting)]
        for name in ("ignore", "attributes"):  # in force without any setting
            key, place = {"ignore": "core.excludesfile", "attributes": "core.attributesfile"}[name], self._config / name
            if self._reader.look(place) and not any(setting.key == key for setting in found):
                found.insert(0, self._there(Setting(key, str(place))))
        for condition in self._reader.undecided:
            self._leave_out(f"includeIf {condition}", "only conditions on the folder and the remote are followed")
        return found

    def _may_pass(self, setting: Setting) -> bool:
        key, value = setting
        if git_rules.SIGNING.fullmatch(key):
            why = "signing keys are not handed over: commits are made unsigned, and one that must be signed is yours"
        elif git_rules.NOBODY_ANSWERS.fullmatch(key):
            why = "ssh runs with the project's own key, and nobody is there to be asked"
        elif not self._request.user and (git_rules.CREDENTIALS.fullmatch(key) or git_rules.has_password(key, value)):
            self._keep_back(key, value)
            why = _LOGS_IN
        else:
            return True
        self._leave_out(key, why)
        return False

    def _keep_back(self, key: str, value: str | None) -> None:
        """Note for which server a login is not handed over."""
        section, _, rest = key.partition(".")
        server, dot, name = rest.rpartition(".")
        if section == "url" and value:
            self._kept_back.add(value)  # what is rewritten to a URL with a password
        elif (section == "credential" and name == "helper" and value) or section == "http":
            self._kept_back.add(server if dot else "")

    def _there(self, setting: Setting) -> Setting:
        """Return a setting that means in the agent's home what it means in the user's."""
        key, value = setting
        if value is None:
            return setting
        if re.fullmatch(r"credential\.(?:.*\.)?helper", key):
            self._helpers = self._helpers or bool(value)
            return Setting(key, self._as_user(value) if value else value)
        value = self._reader.expanded(value)
        if git_rules.COMMANDS.fullmatch(key):
            home = shlex.quote(str(self._home))
            value = re.sub(r"(?<=\s)~(?=/)|\$(?:HOME\b|\{HOME\})", lambda _: home, value)
        if git_rules.PATHS.fullmatch(key) and value.startswith("/") and stamp(Path(value)):
            self._handed[Path(value)] = self._as_is(Path(value))
        return Setting(key, value)

    def _as_user(self, helper: str) -> str:
        """Return a credential helper that runs with the user's home, where it finds what it keeps."""
        environment = self._request.environment
        command = helper.removeprefix("!") if helper.startswith(("!", "/")) else f"git credential-{helper}"
        given = {name: environment[name] for name in _HELPERS if environment.get(name)}
        values = {"HOME": str(self._home), **given}
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        absent = " ".join(("GIT_CONFIG_SYSTEM", "GIT_CONFIG_GLOBAL", *(n for n in _HELPERS if n not in given)))
        return f"!unset {absent}; export {exports}; {command}"

    # -- the agent's own -------------------------------------------------------------------------------------------

    def _agents(self) -> tuple[list[Setting], dict[str, Stamp]]:
        """Return of what the agent set for all its repositories what the manager's git goes by: nothing that runs.

        Without includes, and through no link: the agent may name a file that is none of its business.
        """
        sandbox, given = self._request.sandbox, self._request.variables.get("GIT_CONFIG_GLOBAL")
        places = (Path(given),) if given else (sandbox.xdg / "config" / "git" / "config", sandbox.home / ".gitconfig")
        found: list[Setting] = []
        reader = Reader(home=sandbox.home, gitdir=sandbox.repo / ".git", url=self._request.url, path=self._path)
        for place in places:
            if not reader.look(place) or not (given or _is_within(place, sandbox.path)):
                continue
            try:
                found += [each for each in parse(place, self._path) if git_rules.DATA.fullmatch(each.key)]
            except GitProblem:
                continue  # what the agent cannot use either
        return [each._replace(value=each.value and reader.expanded(each.value)) for each in found], reader.consulted

    # -- what goes with them ---------------------------------------------------------------------------------------

    def _variables(self) -> dict[str, str]:
        socket = self._request.environment.get("SSH_AUTH_SOCK", "")
        agent = {"SSH_AUTH_SOCK": socket} if self._request.user and socket else {}
        return {"GIT_CONFIG_SYSTEM": str(self._folder / "user"), **agent}

    def _warnings(self) -> tuple[str, ...]:
        if not self._request.user:
            return ()
        ways = ["your credential helpers"] if self._helpers else []
        ways += [".netrc"] if self._netrc in self._handed.values() else []
        ways += ["your SSH agent"] if "SSH_AUTH_SOCK" in self._variables() else []
        what = " and ".join(ways) or "your ways to log in (there is no credential helper and no SSH agent now)"
        return (f"git.credentials: user: this agent can log in as you, with {what}",)

    def _hand_credentials(self) -> None:
        """List what the usual helpers and the SSH agent keep, so that they can be reached."""
        if not self._request.user:
            return
        home, environment = self._home, self._request.environment
        places = [home / ".git-credentials", self._config / "credentials", home / ".git-credential-cache"]
        places += [Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "git" / "credential"]
        places += [Path(environment.get("GH_CONFIG_DIR") or self._config.parent / "gh")]
        places += [Path(environment.get("GLAB_CONFIG_DIR") or self._config.parent / "glab-cli")]
        for place in places if self._helpers else ():
            if stamp(place):
                self._handed[place] = self._as_is(place)
        if socket := self._variables().get("SSH_AUTH_SOCK"):
            self._handed[Path(socket)] = self._as_is(Path(socket))

    def _hand_netrc(self) -> None:
        source = self._netrc.source
        if self._reader.look(source) is None:
            return
        if self._request.user:
            self._handed[source] = self._netrc
            return
        self._left_out[str(source)] = LeftOut(what=str(source), why=_LOGS_IN)
        with contextlib.suppress(OSError, ValueError):
            text = source.read_text()
            self._kept_back |= {f"https://{host}" for host in re.findall(r"\bmachine\s+(\S+)", text)}
            self._kept_back |= {""} if re.search(r"(?:^|\s)default\s", text) else set()

    def _hand_authorities(self) -> None:
        """List the certificates that variables of the controller name, so that they can be read."""
        for name in (*AUTHORITIES, "NODE_EXTRA_CA_CERTS"):
            place = self._request.environment.get(name, "")
            if place.startswith("/") and stamp(place):
                self._handed[Path(place)] = self._as_is(Path(place))

    def _as_is(self, path: Path) -> Handed:
        return Handed(source=path, place=path, how="read-only")

    def _leave_out(self, key: str, why: str) -> None:
        what = f"git setting {plain(key, 120)}"
        self._left_out[what] = LeftOut(what=what, why=why)


def _is_within(path: Path, folder: Path) -> bool:
    """Tell whether a file is really in a folder, and not only linked there."""
    try:
        return path.resolve() == folder.resolve() / path.relative_to(folder) and path.is_file()
    except (OSError, RuntimeError):
        return False
