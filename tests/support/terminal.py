"""A terminal for one command: a real pseudo-terminal of a given width, and what a person would see on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(
    command: Sequence[str], environment: Mapping[str, str], columns: int = 80, typed: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit code of a command on a terminal of so many columns, and everything it wrote there.

    Args:
        command: with its arguments.
        environment: all of it, but for TERM.
        columns: of the terminal.
        typed: what a person types, by the prompt.
    """
    answers = dict(typed or {})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("hhhh", 24, columns, 0, 0))
    with subprocess.Popen(
        command,
        env={"TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as program:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: everybody has closed it
            while piece := os.read(ours, 65536):
                seen += piece
                for prompt in [one for one in answers if seen.endswith(one.encode())]:
                    os.write(ours, f"{answers.pop(prompt)}\n".encode())
        os.close(ours)
        code = program.wait()
    return code, seen.decode().replace("\r\n", "\n")
