"""The sandbox's `.env`, the place of a project's secrets, and the one that all projects share.

Keys that the manager does not know are secrets of the agent. Problems name file, line and key, never a value.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dotenv.parser import parse_stream

from reconciler.core.env_keys import (
    AGENT_PORT,
    BRIDGE_PORT,
    ENV_KEYS,
    GIT_URL,
    PASSWORD,
    PROGRAM,
    SSH_KEY,
    TOKEN,
    TOOL_DIR,
)
from reconciler.core.port_rules import HIGHEST_PORT, LOWEST_PORT, PORTS, UNUSABLE_PORTS, range_variable
from reconciler.engines.local.secrets import agent_secrets
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.engines.local.secrets.agent_secrets import AgentSecret
    from reconciler.settings import Sandbox

SECRETS: Final = (PASSWORD, TOKEN)
MAX_BYTES: Final = 65536
MIN_SECRET: Final = 12
"""Characters."""

_PLACEHOLDERS: Final = frozenset({"your-secure-password", "your-bearer-token"})
_PASSWORD: Final = re.compile(r"[\x20-\x7e]+")
"""Beyond ASCII, clients do not agree on the encoding in which they send a password."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""What can stand in an HTTP header as one word."""
_ASSIGNMENT: Final = re.compile(
    r"""(?P<before>[^=\#]+=)
        (?:[^\S\r\n]*'(?:\\.|[^'\\])*' | [^\S\r\n]*"(?:\\.|[^"\\])*" | (?:(?![^\S\r\n]+\#)[^\r\n])*)
        (?P<after>.*)""",
    re.DOTALL | re.VERBOSE,
)
"""A key with its value, as python-dotenv reads them, and what surrounds the value."""
_REVIEW: Final = "# Made in development mode: review it, then remove this line."


@dataclass(frozen=True, kw_only=True)
class Env:
    """What a `.env` says. Secrets are never shown by repr."""

    exists: bool = False
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    server_password: str = field(default="", repr=False)
    bearer_token: str = field(default="", repr=False)
    git_url: str = ""
    ssh_key_path: str = ""
    opencode_port: int | None = None
    mcp_tool_port: int | None = None
    opencode_bin: str = ""
    mcp_tool_dir: str = ""
    agent_secrets: Mapping[str, AgentSecret] = field(default_factory=dict, repr=False)
    """What the agent gets beside, by name."""


@dataclass(frozen=True, kw_only=True)
class _Parsed:
    """The text of a `.env`, understood but not judged."""

    values: Mapping[str, str] = field(repr=False)
    lines: Mapping[str, int]
    twice: frozenset[str]
    problems: tuple[str, ...]
    unreviewed: bool


_known: Final[dict[Path, tuple[str, _Parsed]]] = {}
"""Of each project the text of its `.env` as it is now, and what was understood of it.

Every observation reads the `.env`, which seldom changes: parsing it took a quarter of the time. No text outlives its
file: a changed one takes the place of what was known, and one that is gone is forgotten, so no rotated secret stays.
"""


def _parsed(path: Path, *, any_mode: bool = False) -> _Parsed:
    """Return the parsed file. Raises what `_read` raises, and then keeps nothing of the file in memory."""
    try:
        text = _read(path, any_mode=any_mode)
    except (FileNotFoundError, UserError):
        forget(path)
        raise
    known = _known.get(path)
    if known is None or known[0] != text:
        known = _known[path] = (text, _understood(path, text))
    return known[1]


def forget(path: Path) -> None:
    """Let go of what was known of a `.env`, as when its project is gone."""
    _known.pop(path, None)


def _understood(path: Path, text: str) -> _Parsed:
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    twice: set[str] = set()
    problems: list[str] = []
    for key, value, line in _bindings(text):
        if key is None or value is None:
            problems.append(f"cannot read {path}:{line}: write KEY=value")
        elif key in values:
            twice.add(key)
            problems.append(f"cannot use {path}:{line}: {key} is set twice, first in line {lines[key]}; remove one")
        else:
            values[key], lines[key] = value, line
    return _Parsed(
        values=values, lines=lines, twice=frozenset(twice), problems=tuple(problems), unreviewed=_REVIEW in text
    )


def read_env(path: Path, shared: Path | None = None) -> Env:
    """Read and judge a `.env`; a missing one is an Env that does not exist.

    Args:
        path: of the project.
        shared: what all projects share, which need not exist; the project's own wins.
    """
    try:
        parsed = _parsed(path)
    except FileNotFoundError:
        return Env()
    except UserError as error:
        return Env(exists=True, problems=(str(error),))
    values, lines, problems = parsed.values, parsed.lines, list(parsed.problems)
    for key, why in (*_judge(values), *agent_secrets.reserved(values)):
        place = f"{path}:{lines[key]}" if key in lines else str(path)
        problems.append(f"cannot use {place}: {key} {why}")
    common, refused, unused = _shared(shared) if shared else ({}, (), ())
    return Env(
        exists=True,
        problems=(*problems, *refused),
        warnings=(*_unreviewed(path, parsed), *agent_secrets.unknown(path, values, lines), *unused),
        agent_secrets={**common, **agent_secrets.found(path, values)},
        server_password=values.get(PASSWORD, ""),
        bearer_token=values.get(TOKEN, ""),
        git_url=values.get(GIT_URL, ""),
        ssh_key_path=values.get(SSH_KEY, ""),
        opencode_port=_port(values, AGENT_PORT),
        mcp_tool_port=_port(values, BRIDGE_PORT),
        opencode_bin=values.get(PROGRAM, ""),
        mcp_tool_dir=values.get(TOOL_DIR, ""),
    )


def _shared(path: Path) -> tuple[dict[str, AgentSecret], tuple[str, ...], tuple[str, ...]]:
    """The secrets that all agents share, why some of them cannot be used, and what else is wrong there."""
    try:
        parsed = _parsed(path)
    except FileNotFoundError:
        return {}, (), ()
    except UserError as error:
        return {}, (str(error),), ()
    own = tuple(
        f"cannot use {path}:{parsed.lines[key]}: {key} {why}"
        for key, why in (
            *((key, "is of one project alone; put it into the .env of its sandbox") for key in ENV_KEYS),
            *agent_secrets.reserved(parsed.values),
        )
        if key in parsed.values
    )
    return (
        agent_secrets.found(path, parsed.values),
        parsed.problems + own,
        tuple(agent_secrets.unknown(path, parsed.values, parsed.lines)),
    )


def write_env(sandbox: Sandbox, *, git_url: str, ssh_key: Path | None) -> None:
    """Make a `.env` with strong random secrets. An existing one is never touched."""
    key = f"{SSH_KEY}={quote(str(ssh_key))}" if ssh_key else f"# {SSH_KEY}=/path/to/a/private/key"
    text = (
        f"{_REVIEW}\n# The manager notices every edit.\n\n"
        f"# Git repository\n{GIT_URL}={quote(git_url)}\n\n"
        f"# SSH key (read and write access)\n{key}\n\n"
        f"# OpenCode password\n{PASSWORD}={secrets.token_urlsafe(32)}\n\n"
        f"# MCP tool bearer token\n{TOKEN}={secrets.token_urlsafe(32)}\n\n"
        "# Optional: secrets of the agent alone; any further key in capitals is one\n# ANTHROPIC_API_KEY=...\n\n"
        f"# Optional: fixed ports\n# {AGENT_PORT}=4101\n# {BRIDGE_PORT}=5101\n\n"
        f"# Optional: programs of your own\n# {PROGRAM}=/path/to/opencode\n"
        f"# {TOOL_DIR}=/path/to/opencode-mcp-tool\n"
    )
    temporary = sandbox.run / f".env.{secrets.token_hex(4)}"
    try:
        files.replace_file(temporary, text.encode())
        # A link never replaces: a .env that somebody wrote meanwhile stays.
        os.link(temporary, sandbox.env_file)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)


def bad_secrets(path: Path) -> tuple[str, ...]:
    """Return the secrets that are missing in a `.env` or cannot be used; all of them where it cannot be read."""
    try:
        parsed = _parsed(path, any_mode=True)
    except (FileNotFoundError, UserError):
        return SECRETS
    bad = parsed.twice | {key for key, _ in _judge(parsed.values)}
    return tuple(key for key in SECRETS if key in bad)


def set_secrets(path: Path, values: Mapping[str, str]) -> None:
    """Set these keys, keeping every comment and every other key as it is; 0600 and atomic.

    Raises:
        UserError: the file there cannot be read, or not be changed without changing more.
    """
    try:
        text = _read(path, any_mode=True)
    except FileNotFoundError:
        text = ""
    new = "".join(_patched(text, dict(values)))
    expected = {key: value for key, value, _ in _bindings(text)}
    expected.update(values)
    if {key: value for key, value, _ in _bindings(new)} != expected:
        raise UserError(f"cannot change {path}: it has lines that are not KEY=value, or values beyond one line; fix it")
    files.replace_file(path, new.encode())


def _patched(text: str, left: dict[str, str]) -> Iterator[str]:
    """Yield the text piece by piece with the values in `left` set; a key that was set twice is set once."""
    done: set[str] = set()
    end = "\n"
    for binding in parse_stream(io.StringIO(text, newline="")):
        old, key = binding.original.string, binding.key
        if key in done:
            continue
        if key is not None and key in left:
            match = _ASSIGNMENT.fullmatch(old)
            if match is None:
                continue  # it has no value: it gets one below
            done.add(key)
            old = match["before"] + quote(left.pop(key)) + match["after"]
        yield old
        end = old[-1:]
    if left and text and end not in "\r\n":
        yield "\n"
    yield from (f"{key}={quote(value)}\n" for key, value in left.items())


def quote(value: str) -> str:
    """Quote a value so that python-dotenv reads exactly it.

    Raises:
        UserError: it has control characters, which no value here needs.
    """
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value):
        raise UserError("cannot write a value with control characters: type it again without")
    if re.fullmatch(r"[A-Za-z0-9._~+/:@=-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _read(path: Path, *, any_mode: bool = False) -> str:
    """Read a `.env` that nobody else can read or swap.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be trusted or read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a link" if path.is_symlink() else (error.strerror or str(error)).lower()
        raise UserError(f"cannot read {path}: {why}; put a file of your own there") from None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise UserError(f"cannot read {path}: it is not a file; put one there")
    with os.fdopen(handle, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if about.st_mode & 0o077 and not any_mode:
        raise UserError(f"cannot use {path}: others may read it; run: chmod 600 {shlex.quote(str(path))}")
    if len(data) > MAX_BYTES:
        raise UserError(f"cannot use {path}: it is larger than 64 KiB; shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not UTF-8 text; save it as UTF-8") from None


def _bindings(text: str) -> Iterator[tuple[str | None, str | None, int]]:
    """Keys, values and lines as python-dotenv parses them; no key where it cannot. A `$` means nothing in a secret."""
    for binding in parse_stream(io.StringIO(text, newline="")):
        if binding.key is None and not binding.error:
            continue
        old = binding.original.string
        leading = old[: len(old) - len(old.lstrip())]
        line = binding.original.line + len(re.findall(r"\r\n|\n|\r", leading))
        yield (None if binding.error else binding.key), binding.value, line


def _judge(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each key that cannot be used, and why."""
    password, token = (values.get(key, "") for key in SECRETS)
    for key, value, allowed in zip(SECRETS, (password, token), (_PASSWORD, _TOKEN), strict=True):
        if why := _judge_secret(value, allowed):
            yield key, why
    if token and token == password:
        yield SECRETS[1], "is the same as the password: who has one must not have the other; change it"
    for key, service in ((AGENT_PORT, "agent"), (BRIDGE_PORT, "bridge")):
        port, (low, high) = _port(values, key), PORTS[service]
        if values.get(key) and (port is None or not LOWEST_PORT <= port <= HIGHEST_PORT):
            yield key, f"must be a port from {low} to {high}, or from where {range_variable(service)} moves that range"
        elif port in UNUSABLE_PORTS:
            yield key, "must be another port: browsers and Node refuse this one"
    program, tool, ssh_key = (values.get(key, "") for key in (PROGRAM, TOOL_DIR, SSH_KEY))
    if program and not (Path(program).is_absolute() and Path(program).is_file() and os.access(program, os.X_OK)):
        yield PROGRAM, "must be the absolute path of a program; see: which opencode"
    if tool and not (Path(tool).is_absolute() and Path(tool).is_dir()):
        yield TOOL_DIR, "must be the absolute path of a folder"
    if "PRIVATE KEY" in ssh_key or ssh_key.startswith(("ssh-", "ecdsa-")):
        yield SSH_KEY, "must be the path of a key, not its text"
    elif ssh_key and not re.fullmatch(r"[~/][^\x00-\x1f\"']*", ssh_key):
        yield SSH_KEY, "must be an absolute path without quotes"


def _judge_secret(value: str, allowed: re.Pattern[str]) -> str:
    if not value:
        return "is missing; set it, or have it made with: opencode-manager secrets NAME"
    if value in _PLACEHOLDERS:
        return "is still the placeholder of the example; choose one of your own"
    if len(value) < MIN_SECRET:
        return f"is shorter than {MIN_SECRET} characters; choose a longer one"
    if not allowed.fullmatch(value):
        return "has control characters, or characters beyond ASCII, or a space in a token; use others"
    return ""


def _port(values: Mapping[str, str], key: str) -> int | None:
    text = values.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else None


def _unreviewed(path: Path, parsed: _Parsed) -> Iterator[str]:
    if parsed.unreviewed:
        yield f"{path}: was made in development mode; review it, then remove its first line"
