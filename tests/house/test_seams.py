"""The seams, checked by what is said and not only by what is imported: each exception stands in one of these tables."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2] / "reconciler"
DYNAMIC: Final = {
    "agents/__init__.py": {"*.access", "*.driver", "*.toolset"},
    "app.py": {"reconciler.frontends.mcp.server"},
    "bridge/serve.py": {"reconciler.bridge.server"},
    "controller/notifying.py": {"reconciler.controller.notifier"},
    "engines/local/access.py": {
        "reconciler.engines.local.doctor.report",
        "reconciler.engines.local.processes.usage",
        "reconciler.engines.local.world.inspect",
    },
    "engines/registry.py": {"*.engine", "*.access", "*.prepare"},
    "frontends/cli/commands/events.py": {"reconciler.api.history_follow"},
    "frontends/cli/commands/plan.py": {"reconciler.app"},
    "frontends/cli/commands/run.py": {"reconciler.app"},
    "frontends/cli/commands/wait.py": {"reconciler.frontends.cli.activity"},
    "frontends/cli/grammar.py": {"difflib", "shutil"},
    "frontends/cli/main.py": {"reconciler.frontends.cli.render", "reconciler.frontends.cli.unforeseen"},
    "frontends/cli/parsing.py": {"reconciler.frontends.cli.commands.*", "reconciler.system.orphans"},
    "frontends/cli/output.py": {"reconciler.specs.yaml_writer"},
    "frontends/cli/selection.py": {"reconciler.specs.spec_folder"},
    "frontends/cli/unforeseen.py": {"reconciler.system.log"},
    "frontends/mcp/server.py": {"reconciler.frontends.mcp.tools", "reconciler.mcpkit.endpoint"},
    "frontends/mcp/stdio.py": {"reconciler.frontends.mcp.tools"},
    "frontends/web/entrance.py": {
        "reconciler.frontends.web.proxy.app",
        "uvicorn.protocols.websockets.websockets_sansio_impl",
    },
    "system/changes.py": {"watchfiles"},
}
"""Modules that are loaded when they are needed, since a command would else wait for them at its start; `*` is what is
known only then. Import contracts do not see these edges, so a new one needs a line here, and a reason there."""
UP: Final = {
    ("frontends/cli/commands/plan.py", "reconciler.app"),
    ("frontends/cli/commands/run.py", "reconciler.app"),
}
"""Of those, the ones that lead up: commands that run the composition root."""
LAYERS: Final = (
    ("app",),
    ("frontends",),
    ("api", "controller", "bridge"),
    ("engines",),
    ("agents",),
    ("mcpkit",),
    ("specs", "state"),
    ("core",),
    ("settings_file",),
    ("settings",),
    ("system",),
)
PIDS: Final = {
    "api/results.py": {"opencode_pid", "mcp_tool_pid", "pid"},
    "app.py": {"pid", "getpid"},
    "core/status.py": {"pid"},
    "frontends/cli/console.py": {"pid", "pids"},
    "frontends/cli/render.py": {"pid", "opencode_pid", "mcp_tool_pid"},
    "frontends/cli/unforeseen.py": {"getpid"},
    "frontends/mcp/addresses.py": {"pid"},
    "frontends/mcp/server.py": {"pid", "getpid"},
    "frontends/mcp/tools.py": {"opencode_pid", "mcp_tool_pid"},
    "frontends/mcp/stdio.py": {"pid", "getpid", "getppid", "ppid"},
    "settings.py": {"pid_file"},
    "state/published.py": {"pid"},
}
"""Where a pid may be named outside of `engines/local`: the fields a user sees, the user's file names, and the
controller's own process. `system` knows processes of any kind and is not searched."""
ELSEWHERE: Final = ("engines/local/", "system/")

NAMES: Final = ("id", "attr", "arg", "name")
"""Fields of a syntax tree's nodes that hold an identifier."""


def modules(*but: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module but those below some folders, by its path."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(but):
            yield name, ast.parse(path.read_text())


def dynamic_imports(tree: ast.Module) -> set[str]:
    """What is imported by a call, whether that is made at once or by a thread that is handed the function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = [getattr(each, "attr", "") for each in (node.func, *node.args)]
            if "import_module" in called:
                found.add(_text(node.args[called.index("import_module")]))
    return found


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return str(ast.literal_eval(node))


def identifiers(tree: ast.Module) -> set[str]:
    """Every name in code, and every string that is nothing but a name; no docstring and no sentence."""
    found = set()
    for node in ast.walk(tree):
        for field in NAMES:
            if isinstance(text := getattr(node, field, None), str):
                found.add(text)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return found


def test_dynamic_imports_are_listed() -> None:
    """Each module that hides an edge from the import contracts, with what it loads."""
    assert {name: found for name, tree in modules() if (found := dynamic_imports(tree))} == DYNAMIC


def test_dynamic_imports_lead_down() -> None:
    """As static ones must, but for the listed."""
    floor = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    up = {
        (name, target)
        for name, targets in DYNAMIC.items()
        for target in targets
        if target.startswith("reconciler.")
        and floor[target.split(".")[1]] < floor[name.split("/")[0].removesuffix(".py")]
    }

    assert up == UP


def test_no_pid_is_known_outside_of_the_local_engine() -> None:
    """Another engine has none: what decides by it would be of this machine only."""
    pid = re.compile(r"(^|_|get|p)pids?(_|$)")
    found = {name: {each for each in identifiers(tree) if pid.search(each)} for name, tree in modules(*ELSEWHERE)}

    assert {name: names for name, names in found.items() if names} == PIDS


def test_the_core_knows_no_place_of_a_service() -> None:
    """No keeper, no port to bind, no path below a sandbox: what a plan needs of these is in an engine's recipe."""
    local = {"keeper", "keeper_pid", "port_holder", "fixed_port", "env_file", "run_dir", "known_hosts", "deploy_key"}
    found = {name: identifiers(tree) & local for name, tree in modules() if name.startswith("core/")}

    assert {name: names for name, names in found.items() if names} == {}
