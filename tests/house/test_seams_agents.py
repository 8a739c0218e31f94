"""Nothing outside `agents/opencode` knows OpenCode; names that are the user's contract stand in one table here.

Docstrings and comments may name it: they say where a number was measured.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from reconciler.agents.opencode import own_writes, plugins
from reconciler.agents.opencode.kind import OPENCODE

ROOT: Final = Path(__file__).parents[2] / "reconciler"
OUTSIDE: Final = sorted(path for path in ROOT.rglob("*.py") if not path.is_relative_to(ROOT / "agents" / "opencode"))
EDGE: Final = {
    r"opencode-manager[\w.-]*": "the program itself",
    r"OPENCODE_MANAGER_\w*": "its variables",
    r"opencode-(sandboxes|keys|logs|state\.json|toolchains|trash|controller|specs)/?": "its files",
    r"opencode_(start|status|stop|restart|destroy|list|events|needs|answer)": "the tools of the whole",
    r"opencode-(session-create|session-message|vcs-diff|\.\.\.)": "tools of a project",
    r"opencode_(state|url|port|pid|restarts|last_exit)": "fields of answers, and `opencode_port`",
    r"opencode://(projects|events)\S*": "resources",
}
"""Patterns of the user's contract, wherever they stand."""
ROWS: Final = {
    ("core/kinds.py", "opencode"): "the registry",
    ("core/kinds.py", "reconciler.agents.opencode"): "the registry",
    ("core/kinds.py", "OPENCODE_"): "the registry: variables that a spec may not set",
    ("core/env_keys.py", "OPENCODE_SERVER_PASSWORD"): "a key of `.env`",
    ("core/env_keys.py", "OPENCODE_PORT"): "a key of `.env`",
    ("core/env_keys.py", "OPENCODE_BIN"): "a key of `.env`",
    ("core/env_keys.py", "OPENCODE_URL"): "a variable of the bridge",
    ("settings.py", "opencode.pid"): "a file",
    ("settings_file.py", "opencode-settings.yaml"): "a file",
    (
        "engines/local/confinement/private_places.py",
        ".local/share/opencode",
    ): "of the user's, one private place of many",
    ("settings.py", "opencode"): "the log's name",
    ("engines/local/secrets/env_file.py", "opencode_bin"): "the key's value",
    ("engines/local/access.py", "opencode_bin"): "the key's value",
    ("engines/local/launch.py", "opencode_bin"): "the key's value",
    ("engines/local/observe.py", "opencode_bin"): "the key's value",
    ("engines/local/services.py", "opencode_bin"): "the key's value",
    ("engines/local/secrets/env_file.py", "OpenCode"): "words of the `.env` that is made",
    ("engines/local/secrets/env_file.py", "opencode"): "words of the `.env` that is made",
    ("engines/local/secrets/env_file.py", "/path/to/opencode"): "words of the `.env` that is made",
    ("engines/local/secrets/env_file.py", "/path/to/opencode-mcp-tool"): "the user's own bridge",
    ("engines/local/launch.py", "OpenCode"): "the user's own bridge is told whose it is",
    ("frontends/cli/commands/completion.py", "/.zfunc/_opencode-manager"): "the program itself, as zsh names it",
    ("frontends/cli/parsing.py", "OpenCode"): "what people read",
    ("frontends/cli/unit.py", "OpenCode"): "what people read",
    ("frontends/cli/render.py", "OpenCode"): "what people read",
    ("frontends/mcp/tools.py", "OpenCode"): "what models read",
    ("frontends/mcp/client_config.py", "opencode"): "an MCP client",
    ("frontends/mcp/client_config.py", "opencode.json"): "an MCP client",
    ("frontends/mcp/client_config.py", "_opencode"): "an MCP client",
}
"""The rest, place by place. A row that nobody needs any more fails the test."""
PRIVATE: Final = {
    *(value for field in fields(OPENCODE) if isinstance(value := getattr(OPENCODE, field.name), str)),
    *(name for name, _ in OPENCODE.variables),
    *own_writes.CONFIGS,
    own_writes.FOLDER,
    plugins.EVENTS.path,
    *("auth.json", "/event", "/config/providers", "ConfigInvalidError", "ProviderAuthError", "session.error"),
    *("serveerror", "bootstrapping", "prompt_async", "XDG_DATA_HOME/opencode"),
} - {"opencode", OPENCODE.password_variable, OPENCODE.package, OPENCODE.default_version}
"""Paths, variables, files and messages of OpenCode."""


def code_of(path: Path) -> str:
    """The file without comments and docstrings."""
    text = path.read_text()
    tree = ast.parse(text)
    docs = {
        node.value.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kept = (
        token
        for token in tokens
        if token.type != tokenize.COMMENT and not (token.type == tokenize.STRING and token.start[0] in docs)
    )
    return "\n".join(token.string for token in kept)


CODE: Final = {str(path.relative_to(ROOT)): code_of(path) for path in OUTSIDE}


def mentions(code: str) -> set[str]:
    """What names OpenCode, but for the user's contract."""
    left = re.sub(rf"(?<!\w)(?:{'|'.join(EDGE)})", "", code)
    return set(re.findall(r"[\w./]*opencode[\w./-]*\b_?", left, re.IGNORECASE))


def test_nobody_outside_imports_opencode() -> None:
    """But the registry, by name."""
    found = [name for name, code in CODE.items() if re.search(r"agents\.opencode|agents\s+import\s+opencode", code)]

    assert found == ["core/kinds.py"]


def test_every_name_of_opencode_outside_its_package_is_in_the_table() -> None:
    """And every row of the table is needed."""
    found = {(name, word) for name, code in CODE.items() for word in mentions(code)}

    assert found - ROWS.keys() == set()
    assert ROWS.keys() - found == set()


@pytest.mark.parametrize("word", sorted(PRIVATE))
def test_what_is_opencodes_own_is_named_nowhere_else(word: str) -> None:
    """Its paths, variables, files and messages."""
    found = {name for name, code in CODE.items() if re.search(rf"[\"']{re.escape(word)}[\"'?]", code)}

    assert found <= ({"frontends/mcp/client_config.py"} if word == "opencode.json" else set())


def test_the_searches_find_what_there_is() -> None:
    """In OpenCode's own package."""
    own = "\n".join(code_of(path) for path in (ROOT / "agents" / "opencode").rglob("*.py"))

    assert {"opencode.json", "OPENCODE_CONFIG_CONTENT"} <= mentions(own)
    assert [word for word in ("/global/health", "/permission", "ProviderAuthError") if f'"{word}"' not in own] == []
