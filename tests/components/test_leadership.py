"""Only one leads a home, whatever is deleted, and nobody is kept from it by a name that anybody can take."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.state.leadership import Leadership
from reconciler.system import name_lock
from reconciler.system.files import LockHeld

if TYPE_CHECKING:
    from pathlib import Path


def test_one_whose_lock_file_was_deleted_leads_on(tmp_path: Path) -> None:
    """It has the name, and the lock on what was the file."""
    with contextlib.closing(Leadership(tmp_path)):
        tmp_path.joinpath("lock").unlink()

        with pytest.raises(LockHeld):
            Leadership(tmp_path)


def test_a_stranger_who_takes_the_name_keeps_nobody_from_leading(tmp_path: Path) -> None:
    """As a confined agent can, which cannot reach the lock file."""
    name = name_lock.address(os.path.realpath(tmp_path), "controller")
    code = f"import socket; s = socket.socket(1, 2); s.bind({name!r}); print(flush=True); input()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-S", "-c", code], **pipes) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        assert name_lock.taken(os.path.realpath(tmp_path), "controller")

        Leadership(tmp_path).close()
        stranger.communicate(b"\n")
