"""Ask the user's systemd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.frontends.cli.unit import NAME
from reconciler.settings import UserError

if TYPE_CHECKING:
    from reconciler.settings import Settings

_PATIENCE: Final = 90.0
"""Seconds: ending a controller takes a few."""
_PROPERTIES: Final = ("LoadState", "ActiveState", "SubState", "UnitFileState", "ActiveEnterTimestamp", "NRestarts")


class Systemd:
    """The systemd of one user.

    Args:
        settings: whose environment leads to it.
    """

    def __init__(self, settings: Settings) -> None:
        self._environment = dict(settings.environment)
        runtime = Path(f"/run/user/{os.geteuid()}")
        if runtime.is_dir():  # `su` and cron leave it out, and nothing is found without it
            self._environment.setdefault("XDG_RUNTIME_DIR", str(runtime))
        config = self._environment.get("XDG_CONFIG_HOME") or f"{self._environment['HOME']}/.config"
        self.unit_file = Path(config) / "systemd" / "user" / NAME

    def check(self) -> None:
        """Raise UserError where this user has none."""
        code, text = self._run("systemctl", "--user", "is-system-running")
        if text not in {"running", "degraded", "starting"}:
            why = "systemctl is not on PATH" if code == 127 else f"systemctl --user says {text or 'nothing'!r}"
            raise UserError(
                f"cannot reach your systemd: {why}; log in as this user (not by su), or start the controller by "
                "something else with: opencode-manager run --quiet"
            )

    def call(self, *arguments: str) -> None:
        """Run `systemctl --user`. Raises UserError where that fails."""
        code, text = self._run("systemctl", "--user", *arguments)
        if code:
            raise UserError(f"cannot {arguments[0]} the service: {text}; see systemctl --user status {NAME}")

    def state(self) -> dict[str, str]:
        """Return what systemd says of the service."""
        options = [f"--property={name}" for name in _PROPERTIES]
        done = self._start("systemctl", "--user", "show", NAME, *options)
        lines = done.stdout.decode(errors="replace").splitlines() if done else []
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def lingers(self) -> bool:
        """Tell whether the user's services start at boot, and go on after a logout."""
        return self._run("loginctl", "show-user", str(os.geteuid()), "--property=Linger", "--value")[1] == "yes"

    def _run(self, *argv: str) -> tuple[int, str]:
        done = self._start(*argv)
        if done is None:
            return 127, ""
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        return done.returncode, lines[-1] if lines else ""

    def _start(self, *argv: str) -> subprocess.CompletedProcess[bytes] | None:
        try:
            return subprocess.run(
                argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            return None
        except subprocess.TimeoutExpired:
            raise UserError(f"cannot wait for {argv[0]} any longer: it did not answer in {_PATIENCE:.0f} s") from None
