"""A fake controller: it holds the controller's lock and publishes what a test asks it to, and reconciles nothing.

For tests of frontends; a story in which something is really done runs against the real one (`world`).
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from reconciler import settings as settings_module
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition, ProjectStatus, ServiceStatus
from reconciler.state import published
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.settings import Settings

URL = "git@github.com:user/blog-api.git"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample blog-api-deploy"


class FakeController:
    """Publishes, for as long as it is open."""

    def __init__(self, settings: Settings, http_port: int = 4099) -> None:
        self._http_port = http_port
        files.private_folder(settings.home.controller)
        self._settings = settings
        self._lock = files.LockFile(settings.home.controller / "lock")
        self._projects: dict[str, dict[str, Any]] = {}
        self._publish()

    def ready(self, name: str, version: str, **fields: Any) -> None:
        """It is as wanted."""
        alive: dict[str, Any] = {"state": "running", "last_health_check": 1769596200.0, "started": time.time()}
        self._put(
            name,
            version,
            ready=Condition(status=True, reason=Reason.RUNNING, since=time.time()),
            reason="Running",
            agent=ServiceStatus(pid=12345, port=4101, url="http://127.0.0.1:4101", **alive),
            bridge=ServiceStatus(pid=12346, port=5101, url="http://127.0.0.1:5101/mcp", **alive),
            **{"desired": "running", "actual": "running", **fields},
        )

    def working(self, name: str, version: str, reason: str = "Cloning", message: str = "cloning 10%") -> None:
        """Something is being done."""
        self._put(
            name,
            version,
            reconciling=Condition(status=True, reason=Reason(reason), message=message, since=time.time()),
            reason=reason,
            message=message,
        )

    def stalled(self, name: str, version: str, reason: str, message: str, **fields: Any) -> None:
        """It cannot go on until somebody acts."""
        stalled = Condition(status=True, reason=Reason(reason), message=message, since=time.time())
        self._put(name, version, stalled=stalled, reason=reason, message=message, **fields)

    def waiting_for_key(self, name: str, version: str) -> None:
        """The usual first stop."""
        path = f"{self._settings.home.deploy_key(name)}.pub"
        message = f"add the public key {path} to the repository, with write access"
        self.stalled(name, version, "WaitingForKey", message, public_key=KEY, public_key_path=path)

    def gone(self, name: str) -> None:
        """Nothing of it is left."""
        self._projects.pop(name, None)
        self._publish()

    def close(self) -> None:
        """End, as when it is killed: what was published stays."""
        self._lock.close()

    def _put(self, name: str, version: str, **fields: Any) -> None:
        no = Condition(status=False, reason=Reason.IDLE, since=time.time())
        quiet: dict[str, Any] = {
            "desired": "running",
            "actual": "stopped",
            "ready": no,
            "reconciling": no,
            "stalled": no,
            "message": "",
            "agent": ServiceStatus(state="stopped"),
            "bridge": ServiceStatus(state="stopped"),
        }
        status = ProjectStatus(
            name=name,
            generation=1,
            observed_generation=1,
            git_url=URL,
            sandbox=str(self._settings.home.sandbox(name).path),
            spec_version=version,
            observed=time.time(),
            **{**quiet, **fields},
        )
        self._projects[name] = status.to_dict()
        self._publish()

    def _publish(self) -> None:
        identity = published.ControllerInfo(
            pid=os.getpid(), specs=str(self._settings.specs), http_port=self._http_port, started=time.time()
        )
        published.Writer(self._settings.home).write(identity, self._projects)


def make_settings(root: Path, **environment: str) -> Settings:
    """The settings of an empty home with an empty specs folder; the port is picked by the system."""
    given = {
        "PATH": os.environ["PATH"],
        settings_module.HOME_VARIABLE: str(root / "home"),
        settings_module.SPECS_VARIABLE: str(root / "specs"),
        settings_module.PORT_VARIABLE: "0",
    }
    return settings_module.load(environment=given | environment)


@contextlib.contextmanager
def a_fake_controller(settings: Settings, http_port: int = 4099) -> Iterator[FakeController]:
    """One that runs within. It says that it serves MCP on that port, and does not."""
    controller = FakeController(settings, http_port)
    try:
        yield controller
    finally:
        with contextlib.suppress(OSError):
            controller.close()
