"""What tool chains need of the user's home: rows of data, each with its default, and why some are left out.

An agent has a home of its own, so that none of this is found there unless it is handed over. Settings are copied into
its home at each start; what is installed is named by a variable and stays where it is; credentials stay out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import Handed, LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS: Final = (
    *(".npmrc", ".yarnrc", ".yarnrc.yml", ".bunfig.toml", ".config/pnpm/rc"),
    *(".pip/pip.conf", ".config/pip/pip.conf", ".config/uv/uv.toml", ".condarc"),
    *(".cargo/config.toml", ".config/go/env", ".gemrc", ".bundle/config"),
    *(".m2/settings.xml", ".gradle/gradle.properties", ".nuget/NuGet/NuGet.Config"),
)
"""Files with registries, mirrors and proxies: copied, unless they hold credentials."""
INSTALLED: Final = (
    ("RUSTUP_HOME", ".rustup"),
    ("PYENV_ROOT", ".pyenv"),
    ("RBENV_ROOT", ".rbenv"),
    ("NODENV_ROOT", ".nodenv"),
    ("GOENV_ROOT", ".goenv"),
    ("NVM_DIR", ".nvm"),
    ("FNM_DIR", ".local/share/fnm"),
    ("VOLTA_HOME", ".volta"),
    ("ASDF_DATA_DIR", ".asdf"),
    ("MISE_DATA_DIR", ".local/share/mise"),
    ("SDKMAN_DIR", ".sdkman"),
)
"""Variables by which the programs on PATH find what they start: their folder below the user's home, or what the
controller has in that variable."""
CREDENTIALS: Final = (
    *(".ssh", ".gnupg", ".netrc", ".git-credentials", ".config/git/credentials", ".config/gh/hosts.yml"),
    *(".aws", ".azure", ".config/gcloud", ".kube/config", ".docker/config.json", ".config/containers/auth.json"),
    *(".pypirc", ".cargo/credentials.toml", ".gem/credentials"),
)
"""Never handed over."""
CACHES: Final = (".cargo/registry", ".m2/repository", ".gradle/caches", "go/pkg/mod", ".npm", ".cache/pip")
"""The agent has its own: a cache that two write to without knowing of each other is damaged sooner or later."""

_WHY_NOT: Final = "it holds credentials; give the agent its own with: opencode-manager secrets NAME KEY"
_CREDENTIAL: Final = re.compile(
    r"(?i)_auth|token|password|passwd|passphrase|secret|api_?key|private_?key|://[^/\s:@]+:[^@\s]+@"
)
_BYTES: Final = 2**18


@dataclass(frozen=True)
class ToolFiles:
    """What is handed over and what is not."""

    copies: dict[str, bytes] = field(default_factory=dict, repr=False)
    """What is copied, by its path below the sandbox."""
    files: list[Handed] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def installed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name what is installed in the user's home."""
    home = environment.get("HOME") or "/"
    folders = {variable: environment.get(variable) or f"{home}/{name}" for variable, name in INSTALLED}
    return {variable: folder for variable, folder in folders.items() if Path(folder).is_dir()}


def found(environment: Mapping[str, str], sandbox: Path) -> ToolFiles:
    """Return what there is of the user's. Changes nothing."""
    home, tools = Path(environment.get("HOME") or "/"), ToolFiles()
    for name in SETTINGS:
        _settings(home / name, _place(name), sandbox, tools)
    for folder in map(Path, installed(environment).values()):
        tools.files.append(Handed(source=folder, place=folder, how="read-only"))
    tools.left_out.extend(LeftOut(what=str(home / name), why=_WHY_NOT) for name in _there(home, CREDENTIALS))
    tools.left_out.extend(LeftOut(what=str(home / name), why="the agent has its own") for name in _there(home, CACHES))
    return tools


def _there(home: Path, names: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if (home / name).exists())


def _place(name: str) -> str:
    """Return where a file belongs below a sandbox: there, `.config` is a folder of its own."""
    return f"xdg/config/{name.removeprefix('.config/')}" if name.startswith(".config/") else f"home/{name}"


def _settings(source: Path, place: str, sandbox: Path, tools: ToolFiles) -> None:
    try:
        if not source.is_file():
            return
        with source.open("rb") as file:
            data = file.read(_BYTES + 1)
    except OSError as error:
        tools.left_out.append(LeftOut(what=str(source), why=(error.strerror or str(error)).lower()))
        return
    if len(data) > _BYTES:
        tools.left_out.append(LeftOut(what=str(source), why="it is larger than 256 KiB"))
    elif _has_credentials(data.decode(errors="replace")):
        tools.left_out.append(LeftOut(what=str(source), why=_WHY_NOT))
    else:
        tools.copies[place] = data
        tools.files.append(Handed(source=source, place=sandbox / place, how="copy"))


def _has_credentials(text: str) -> bool:
    """Tell whether a line looks like one; a comment is none (in `.npmrc`, `//` begins an address), nor a reference."""
    lines = (line.strip() for line in text.splitlines())
    return any(_CREDENTIAL.search(line) and "${" not in line for line in lines if not line.startswith(("#", ";")))
