"""Check the controller and its folders, and ask the engine about the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.api import engine_access, reader
from reconciler.core.findings import Finding, good, note, problem
from reconciler.settings import PORT_VARIABLE
from reconciler.specs import scan
from reconciler.state import published
from reconciler.system import tcp_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.settings import Settings
    from reconciler.state.published import Index


def findings(settings: Settings) -> tuple[Finding, ...]:
    """Return everything that is to be said, the machine last. Takes a second or two."""
    index = published.read(settings.home)
    holder = "" if index.running or not settings.http_port else tcp_ports.holder(settings.http_port)
    own = (*controller(index), *endpoint(index, settings.http_port, holder), *specs(index, settings), *projects(index))
    return (*own, *engine_access.findings(settings))


def controller(index: Index) -> Iterator[Finding]:
    """Check that one runs, and of which version."""
    if not index.running or index.controller is None:
        yield note("controller", "none is running: nobody keeps the agents as desired", "opencode-manager run")
    elif index.controller.version != __version__:
        text = f"it is of version {index.controller.version}, and this is {__version__}"
        yield note("controller", text, "restart it: the agents keep running")
    else:
        yield good("controller", f"version {__version__} is running")


def endpoint(index: Index, port: int, holder: str) -> Iterator[Finding]:
    """Check that MCP is served, or can be once a controller runs.

    Args:
        index: as published.
        port: that a controller started now would have.
        holder: who has it meanwhile; empty: nobody.
    """
    if not index.running or index.controller is None:
        if holder:
            yield problem("mcp", f"port {port} is taken by {holder}", f"end it, or set {PORT_VARIABLE}")
        return
    if index.controller.http_port:
        yield good("mcp", f"served at http://127.0.0.1:{index.controller.http_port}/mcp")
    else:
        why = next((text for text in index.controller.warnings if "MCP" in text), "it is not served")
        yield problem("mcp", why, f"free that port, or set {PORT_VARIABLE}")


def specs(index: Index, settings: Settings) -> Iterator[Finding]:
    """Check that the specs folder can be read."""
    folder = reader.specs_folder(index, settings)
    try:
        count = sum(path.suffix == scan.SUFFIX for path in folder.iterdir())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        yield problem("specs", f"{folder}: {why}", "make it, or name another with --specs")
        return
    yield good("specs", f"{count} spec file{'' if count == 1 else 's'} in {folder}")


def projects(index: Index) -> Iterator[Finding]:
    """Check what is published of each project."""
    stalled = [name for name, status in sorted(index.projects.items()) if status["stalled"]["status"]]
    for name in stalled:
        reason = index.projects[name]["stalled"]["reason"]
        yield note("projects", f"{name} waits: {reason}", f"opencode-manager status {name}")
    if index.projects and not stalled:
        yield good("projects", f"none of {len(index.projects)} waits for anybody")
