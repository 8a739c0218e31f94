"""The tools for the agent itself: its health, its configuration, its models.

Nothing leaves without `redact`: OpenCode returns API keys in clear text.
"""

from __future__ import annotations

import json
from typing import Annotated, Final

from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is

from reconciler.agents.opencode.agent import OpenCodeAgent  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.api import Refused, Unreachable
from reconciler.agents.opencode.results import TEXT_CHARS, JsonDocument, Provider, Providers, ServerHealth
from reconciler.core.plain_text import plain
from reconciler.mcpkit import redact
from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.results import said

_MODELS: Final = 100
"""Of one provider, at most."""
_PROVIDERS: Final = 50


async def server_health(agent: OpenCodeAgent) -> Annotated[CallToolResult, ServerHealth]:
    """Health of a project's agent: whether its OpenCode server answers and can work, and its version."""
    version, detail = "", ""
    try:
        version = plain((await agent.opencode.get("/global/health")).get("version") or "", 60)
        # That alone is no proof: it says healthy even when the project cannot be loaded.
        await agent.opencode.get("/session/status")
    except (Refused, Unreachable) as error:
        detail = str(error)
    result = ServerHealth(project=agent.project, healthy=not detail, version=version, detail=detail)
    return said(detail or f"The agent of {agent.project} is healthy: OpenCode {version}.", result)


async def config_get(agent: OpenCodeAgent) -> Annotated[CallToolResult, JsonDocument]:
    """Configuration (settings) of a project's agent as it is in force, without secrets."""
    document = redact.document(await agent.opencode.get("/config"))
    note = ""
    if len(json.dumps(document)) > TEXT_CHARS:
        sizes = {key: len(json.dumps(value)) for key, value in document.items()}
        left_out = [key for key in sizes if sizes[key] > TEXT_CHARS // 20]
        document = {key: value for key, value in document.items() if key not in left_out}
        note = plain(f"too large, left out: {', '.join(left_out)}", 1000)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return said(text, JsonDocument(document=document, note=note))


async def providers_list(agent: OpenCodeAgent) -> Annotated[CallToolResult, Providers]:
    """List the providers and models that a project's agent can use."""
    raw = await agent.opencode.get("/config/providers")
    listed = raw.get("providers") or []
    providers = [
        Provider(
            id=plain(one.get("id"), 100),
            name=plain(redact.text(str(one.get("name") or "")), 100),
            models=[plain(f"{one.get('id')}/{model}", 200) for model in list(one.get("models") or {})[:_MODELS]],
        )
        for one in listed[:_PROVIDERS]
    ]
    cut = len(listed) > _PROVIDERS or any(len(one.get("models") or {}) > _MODELS for one in listed)
    note = f"at most {_PROVIDERS} providers and {_MODELS} models of each are listed" if cut else ""
    default = plain((await agent.opencode.get("/config")).get("model") or "")
    note = note if providers else "no provider is set up"
    lines = [f"{one.name}: {', '.join(one.models)}" for one in providers]
    lines += [f"Default: {default}"] if default else []
    return said("\n".join(lines), Providers(providers=providers, default=default, note=note))


TOOLS: Final = (
    Tool(name="opencode-server-health", title="Health of a server", function=server_health, read_only=True),
    Tool(name="opencode-config-get", title="Configuration of an agent", function=config_get, read_only=True),
    Tool(name="opencode-providers-list", title="List models of an agent", function=providers_list, read_only=True),
)
