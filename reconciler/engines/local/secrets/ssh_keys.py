"""SSH keys: make a deploy key, check a key that a person named, and build the ssh command for git."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.engines.local.facts import KeyFacts
from reconciler.engines.local.git import subprocesses
from reconciler.settings import UserError
from reconciler.system import files
from reconciler.system.aio import run_in_thread_shielded

_TIMEOUT: Final = 20.0

_seen: dict[Path, tuple[tuple[int, ...], str]] = {}
"""The public half of each key that was looked at, as long as its file does not change: looks are frequent."""


async def generate_key(path: Path, *, comment: str) -> None:
    """Make an ed25519 key without a passphrase (an agent has nobody to type it), 0600. An existing one is kept.

    Raises:
        UserError: ssh-keygen is missing or failed.
    """
    files.private_folder(path.parent)
    if path.exists():
        public = await _keygen("-y", "-P", "", "-f", str(path))
        await run_in_thread_shielded(files.replace_file, _public(path), public.encode(), mode=0o644)
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / "key"
        await _keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(made))
        # The public half first: a private key in place means that both are.
        await run_in_thread_shielded(files.replace_file, _public(path), _public(made).read_bytes(), mode=0o644)
        await run_in_thread_shielded(files.replace_file, path, made.read_bytes())


async def key_facts(path: Path, *, generated: bool) -> KeyFacts:
    """Observe a key and its public half.

    Args:
        path: the private key.
        generated: ours to make; else a person named it and it must be there.
    """
    facts = KeyFacts(needed=True, path=str(path), generated=generated)
    if generated and not (path.exists() and _public(path).exists()):
        return facts
    try:
        about = _judge(path)
        if path not in _seen or _seen[path][0] != about:
            _seen[path] = (about, await _public_text(path))
    except UserError as error:
        return replace(facts, exists=os.access(path, os.F_OK), problem=str(error))
    return replace(facts, exists=True, public=_seen[path][1])


def ssh_command(key: Path | None, known_hosts: Path, *, agent: bool = False) -> str:
    """The value of GIT_SSH_COMMAND.

    The user's own ssh configuration (host aliases, jumps) stays in force, and so do host keys that the administrator
    pinned or revoked for everybody; nothing is ever written there. Agents, multiplexed connections and the user's usual
    keys do not, so that a project reaches only what its own key reaches (and what that configuration names for the
    host). Host keys are pinned on first use, per project: one that changes later is refused.

    Args:
        key: the private key; None for a project that has none, which then uses no key at all.
        known_hosts: where the host keys of this project are pinned.
        agent: whether the keys of the user's SSH agent may be used besides (SSH_AUTH_SOCK).
    """
    options = {
        "IdentityFile": _quoted(key) if key else "none",
        "IdentitiesOnly": "no" if agent else "yes",
        "IdentityAgent": "SSH_AUTH_SOCK" if agent else "none",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": _quoted(known_hosts),
        "UpdateHostKeys": "no",
        "HashKnownHosts": "no",
        "ForwardAgent": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": "15",
        "ServerAliveInterval": "15",
    }
    return shlex.join(["ssh", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))])


def _quoted(path: Path) -> str:
    """Quote a path for an option of ssh, in which spaces, backslashes and percent signs have a meaning."""
    text = str(path).replace("%", "%%")
    if re.search(r"[\s\\\"#']", text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def _judge(path: Path) -> tuple[int, ...]:
    """Check that a key file can be used and return what identifies its state, as far as the file system shows it.

    Raises:
        UserError: it cannot.
    """
    try:
        about = path.stat()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UserError(f"cannot read the SSH key {path}: {why}; name one that is there") from None
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"cannot use the SSH key {path}: it is not a file; name a private key")
    if about.st_mode & 0o077:
        raise UserError(f"cannot use the SSH key {path}: others may read it; run: chmod 600 {shlex.quote(str(path))}")
    if not os.access(path, os.R_OK):
        raise UserError(f"cannot read the SSH key {path}: permission denied; name one that is yours")
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


async def _public_text(path: Path) -> str:
    """Derive the public half from the private one, with the comment of its own file.

    Raises:
        UserError: it is no private key, or has a passphrase.
    """
    public = (await _keygen("-y", "-P", "", "-f", str(path))).strip()
    with contextlib.suppress(OSError):
        text = _public(path).read_text(errors="replace").strip()
        if text.split()[:2] == public.split()[:2]:
            return text
    return public


async def _keygen(*arguments: str) -> str:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C"}
    try:
        result = await subprocesses.run(["ssh-keygen", *arguments], env=environment, timeout=_TIMEOUT)
    except FileNotFoundError:
        raise UserError("cannot make or read an SSH key: ssh-keygen is not on PATH; install OpenSSH's client") from None
    except TimeoutError as error:
        raise UserError(f"cannot make or read an SSH key: {error}; try again") from None
    if result.code == 0:
        return result.out
    path = arguments[-1]
    if "incorrect passphrase" in result.err:
        raise UserError(
            f"cannot use the SSH key {path}: it has a passphrase, which nobody is there to type; name another"
        )
    if "-y" in arguments:
        raise UserError(
            f"cannot use the SSH key {path}: it is not a private key that ssh-keygen can read; name another"
        )
    raise UserError(f"cannot make the SSH key {path}: ssh-keygen ended with code {result.code}")
