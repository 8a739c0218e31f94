"""Which address an MCP client may be given with a token of ours: one that is proved to be ours, or nobody's yet.

A client sends the token to any process that listens there, so a port that another process holds is never named.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import psutil

from reconciler.api import engine_access, reader
from reconciler.core.observed import Service
from reconciler.settings import PORT_VARIABLE, UserError
from reconciler.state import published
from reconciler.system import tcp_ports

if TYPE_CHECKING:
    from reconciler.settings import Settings


class Address(NamedTuple):
    """A port of 127.0.0.1 that serves MCP, and what to do before it does."""

    port: int
    hint: str = ""

    @property
    def base(self) -> str:
        """Without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As clients have it."""
        return f"{self.base}/mcp"


def of_controller(settings: Settings) -> Address:
    """Return the controller's endpoint: that of the running one, else where one would listen.

    Raises:
        UserError: another process has the port, the controller serves no MCP, or the port is not known yet.
    """
    index = published.read(settings.home)
    if index.running:
        return _running(index.controller, settings)
    if not settings.http_port:
        raise UserError(
            f"cannot name the address: {PORT_VARIABLE}=0 lets the system pick a port, and no controller runs; "
            "start it with: opencode-manager run"
        )
    if holder := tcp_ports.holder(settings.http_port):
        raise UserError(
            f"cannot name the address: {holder} listens on port {settings.http_port}, not a controller of yours; "
            f"set {PORT_VARIABLE} to a free port, also for opencode-manager run"
        )
    return Address(settings.http_port, "No controller runs yet. Start it before the client: opencode-manager run")


def _running(controller: published.ControllerInfo | None, settings: Settings) -> Address:
    if controller is None or not controller.http_port:
        why = "; ".join(controller.warnings) if controller else ""
        raise UserError(
            f"cannot name the address: the running controller serves no MCP yet{why and f' ({why})'}; "
            "see opencode-manager status, then try again"
        )
    if not _listens(controller.pid, controller.http_port):
        holder = tcp_ports.holder(controller.http_port) or "nobody"
        raise UserError(
            f"cannot name the address: {holder} listens on port {controller.http_port}, not the controller of "
            f"{settings.home.root} (pid {controller.pid}); set {PORT_VARIABLE} to a free port and start it again"
        )
    return Address(controller.http_port)


def of_bridge(settings: Settings, project: str) -> Address:
    """Return the endpoint of one project's bridge.

    Raises:
        UserError: there is no such project, it has no bridge yet, or another process has the port.
    """
    index = published.read(settings.home)
    if project not in index.projects:
        raise UserError(reader.unknown(index, settings, project, "name the address of"))
    port = index.projects[project]["bridge"]["port"]
    if not port:
        raise UserError(
            f"cannot name the address of {project}: it has no bridge yet; start it with: opencode-manager start "
            f"{project}"
        )
    connection = engine_access.connect(settings, project, Service.BRIDGE)
    if connection is not None and connection.url == Address(port).base:
        return Address(port)
    if holder := tcp_ports.holder(port):
        raise UserError(
            f"cannot name the address of {project}: {holder} listens on port {port}, not its bridge; "
            f"see opencode-manager status {project}"
        )
    return Address(port, f"Its bridge is not running. Start it before the client: opencode-manager start {project}")


def _listens(pid: int, port: int) -> bool:
    """Tell whether this process is ours and listens there."""
    try:
        process = psutil.Process(pid)
        return process.uids().real == os.getuid() and any(
            one.status == psutil.CONN_LISTEN and one.laddr == ("127.0.0.1", port)
            for one in process.net_connections("tcp4")
        )
    except psutil.Error:
        return False
