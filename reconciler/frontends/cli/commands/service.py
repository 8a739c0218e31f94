"""Let the user's systemd run the controller, from boot on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from reconciler.api import drafts
from reconciler.core.plain_text import plain
from reconciler.frontends.cli import flags, render, terminal, unit
from reconciler.frontends.cli.systemctl import Systemd
from reconciler.settings import UserError
from reconciler.state import published
from reconciler.system import files

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

_LINGER: Final = "loginctl enable-linger"


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Agents outlive the controller: neither a restart of the service nor its end touches them.",
        "service install",
        "service status",
    )
    action = parser.add_argument("action", choices=["install", "uninstall", "status"], metavar="ACTION")
    action.help = "install, uninstall or status"
    flags.dry_run(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Do one of them."""
    systemd = Systemd(settings)
    match options.action:
        case "install":
            return install(settings, dry_run=options.dry_run)
        case "uninstall":
            return _uninstall(systemd, dry_run=options.dry_run)
        case _:
            return _status(systemd)


def install(settings: Settings, *, dry_run: bool) -> int:
    """Write the unit, and start it. A controller that runs already is replaced when it ends.

    Args:
        settings: that the controller gets.
        dry_run: only print the unit.

    Raises:
        UserError: this user has no systemd, or it refuses.
    """
    systemd = Systemd(settings)
    command = [sys.executable, "-P", "-m", "reconciler", "--specs", str(settings.specs), "run", "--quiet", "--standby"]
    try:
        text = unit.text(command, settings.environment)
    except ValueError as error:
        raise UserError(f"cannot write a unit: a path or a variable cannot be used, since {error}") from None
    path = systemd.unit_file
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if dry_run:
        found = drafts.unified(before, text, str(path) if before else "/dev/null", str(path))
        print(render.render_diff(found, terminal.painter(sys.stdout)) or f"{path} would stay as it is")
        return 0
    systemd.check()
    outside = published.read(settings.home).running and systemd.state().get("ActiveState") != "active"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(path, text.encode(), mode=0o600)
    systemd.call("daemon-reload")
    systemd.call("enable", unit.NAME)
    systemd.call("restart" if before and before != text else "start", unit.NAME)
    print(f"The service is installed and runs: {path}")
    if outside:
        print("Another controller runs now: end it, and the service takes over.")
    if not systemd.lingers():
        print(f"It ends when you log out, and starts when you log in. To start it at boot: {_LINGER}")
    return 0


def _uninstall(systemd: Systemd, *, dry_run: bool) -> int:
    """Stop the service and remove the unit; agents keep running."""
    path = systemd.unit_file
    if not path.exists():
        print("There is no service.")
        return 0
    if dry_run:
        print(f"would stop the service and remove {path}")
        return 0
    systemd.check()
    systemd.call("disable", "--now", unit.NAME)
    path.unlink(missing_ok=True)
    systemd.call("daemon-reload")
    print("The service is gone; the agents keep running. To stop one: opencode-manager stop NAME; opencode-manager run")
    return 0


def _status(systemd: Systemd) -> int:
    """Print how it stands; return 0 where it runs, else 2."""
    if not systemd.unit_file.exists():
        print("There is no service. To make one: opencode-manager service install")
        return 2
    systemd.check()
    state, lingers = systemd.state(), systemd.lingers()
    active = state.get("ActiveState") == "active"
    since = f" since {state['ActiveEnterTimestamp']}" if active and state.get("ActiveEnterTimestamp") else ""
    rows = [
        ("Unit", str(systemd.unit_file)),
        ("Starts", "at boot" if lingers else f"when you log in; at boot with: {_LINGER}"),
        ("Enabled", state.get("UnitFileState", "unknown")),
        ("State", f"{state.get('ActiveState', 'unknown')} ({state.get('SubState', 'unknown')}){since}"),
        ("Restarts", state.get("NRestarts", "0")),
    ]
    print("\n".join(f"{f'{name}:':<10}{plain(value)}" for name, value in rows))
    return 0 if active else 2
