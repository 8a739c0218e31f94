"""Shells for one question each: what would they complete?

Belongs here: asking bash, zsh and fish. Does not belong here: what the answer should be.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE: Final = 60.0
_BASH: Final = """
source "$1"; COMP_LINE=$2; COMP_POINT=${#COMP_LINE}; read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_opencode_manager opencode-manager "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
_ZSH_END: Final = "the-end-of-it"
_ZSH: Final = """
fpath=($1 $fpath); autoload -Uz compinit; compinit -u -D
compadd() { local -a found; builtin compadd -O found "$@"; print -rl -- $found; builtin compadd "$@"; }
_reported() { print; _main_complete; print -r -- $END; }
zle -C reported list-choices _reported; bindkey '^I' reported; print -r -- $END
"""
"""What completion finds is printed as it is found: zsh itself lists nothing where more is typed already."""


def completions(shell: str, script: Path, line: str, environment: Mapping[str, str]) -> set[str]:
    """What a shell offers at the end of a line; skips loudly where there is no such shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    match shell:
        case "bash":
            return _said(["bash", "--norc", "-c", _BASH, "bash", str(script), line], environment)
        case "fish":
            found = _said(["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"], environment)
            return {each.partition("\t")[0] for each in found}
        case _:
            return _zsh(script, line, environment)


def _said(command: list[str], environment: Mapping[str, str]) -> set[str]:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True, stdin=subprocess.DEVNULL
    )
    return set(done.stdout.split("\n")) - {""}


def _zsh(script: Path, line: str, environment: Mapping[str, str]) -> set[str]:
    """Press the tab key in a zsh on a terminal: its completion works nowhere else."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"],
        env={**environment, "TERM": "dumb", "PS1": "", "HOME": str(script.parent), "END": _ZSH_END},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as program:
        os.close(theirs)
        named = script.with_name("_opencode-manager")  # in a folder of $fpath it is found by that name
        if not named.exists():
            named.symlink_to(script)
        setup = script.with_name("setup.zsh")
        setup.write_text(_ZSH)
        os.write(ours, f"source {setup} {script.parent}\n".encode())
        _until(ours, _ZSH_END)
        os.write(ours, f"{line}\t".encode())
        seen = _until(ours, _ZSH_END)
        program.kill()
    os.close(ours)
    return set(re.split(r"\s+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", seen)))


def _until(descriptor: int, wanted: str) -> str:
    seen = ""
    while wanted not in seen:
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            raise AssertionError(f"{wanted!r} was not printed: {seen!r}")
        seen += os.read(descriptor, 65536).decode(errors="replace")
    return seen
