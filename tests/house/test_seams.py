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
    "app.py": {"reconciler.frontends.mcp.server"},
    "bridge/serve.py": {"reconciler.bridge.server"},
    "engines/registry.py": {"*.engine", "*.access", "*.prepare"},
    "frontends/cli/commands/offline.py": {"reconciler.app"},
    "frontends/cli/commands/serve.py": {"reconciler.app"},
    "frontends/cli/commands/show.py": {"reconciler.specs.yaml_writer", "watchfiles"},
    "frontends/cli/grammar.py": {"difflib", "shutil"},
    "frontends/cli/main.py": {
        "reconciler.frontends.cli.commands.*",
        "reconciler.frontends.cli.unforeseen",
        "reconciler.system.orphans",
    },
    "frontends/cli/unforeseen.py": {"reconciler.system.log"},
    "frontends/mcp/server.py": {"reconciler.frontends.mcp.tools", "reconciler.mcpkit.endpoint"},
    "frontends/mcp/stdio.py": {"reconciler.frontends.mcp.tools"},
}
"""Modules that are loaded when they are needed, since a command would else wait for them at its start; `*` is what is
known only then. Import contracts do not see these edges, so a new one needs a line here, and a reason there."""
UP: Final = {
    ("frontends/cli/commands/offline.py", "reconciler.app"),
    ("frontends/cli/commands/serve.py", "reconciler.app"),
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
OPENCODE: Final = {
    # The user's document: names of tools, fields, `.env` keys, files and folders.
    "api/results.py",
    "core/spec.py",  # `agent.kind`, and the variables that a spec may not set
    "engines/local/recipe.py",
    "engines/local/secrets/env_file.py",
    "frontends/cli/main.py",
    "frontends/cli/render.py",
    "frontends/mcp/client_config.py",  # as a client of ours, like the others there
    "frontends/mcp/router.py",
    "frontends/mcp/tools.py",
    "mcpkit/binding.py",
    "settings.py",
    # Not moved behind the driver yet: these lines only go.
    "bridge/config.py",
    "bridge/connect.py",
    "bridge/guard.py",
    "bridge/server.py",
    "engines/local/act.py",
    "engines/local/git/unpushed_work.py",
    "engines/local/health/checks.py",
    "engines/local/launch.py",
    "engines/local/observe.py",
    "engines/local/plugins.py",
    "engines/local/services.py",
    "engines/local/toolchain.py",
}
"""Modules outside of `agents/opencode` that name OpenCode in code or in a text."""


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


def texts(tree: ast.Module) -> Iterator[str]:
    """Every name in code and every string but docstrings."""
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        yield from (text for field in (*NAMES, "module") if isinstance(text := getattr(node, field, None), str))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes:
            yield node.value


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


def test_opencode_is_known_only_to_its_driver_and_at_the_edges() -> None:
    """Another kind of agent has none of its names; the manager's own name is none of them."""
    name = re.compile(r"opencode(?!.manager)", re.IGNORECASE)
    found = {path for path, tree in modules("agents/opencode/") if any(map(name.search, texts(tree)))}

    assert found - OPENCODE == set()
