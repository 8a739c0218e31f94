"""The tools for the files of the clone: find, search, read, and what changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is
from pydantic import Field

from reconciler.agents.opencode import clone
from reconciler.agents.opencode.agent import OpenCodeAgent  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.api import TooLarge
from reconciler.agents.opencode.results import ChangedFile, Diff, FileContent, FoundLine, FoundLines, Paths, head
from reconciler.core.plain_text import plain
from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.results import said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATH: Final = 1_000
"""Characters of one path."""
_FILES: Final = 500
"""Changed files listed at most."""
_PATCH: Final = 20_000
"""Characters of one file's patch, so that one large change does not hide all others."""


async def find_files(
    agent: OpenCodeAgent,
    query: Annotated[str, Field(max_length=300, description="Part of a name or path, matched fuzzily")] = "",
    limit: Annotated[int, Field(ge=1, le=200)] = 100,
) -> Annotated[CallToolResult, Paths]:
    """Find files and folders of the repository by name, the best match first."""
    found = await agent.opencode.get("/find/file", query=query, limit=limit)
    paths = [plain(path, _PATH) for path in found[:limit]]
    note = f"only the best {limit} are shown" if len(paths) == limit else ""
    return said("\n".join(paths), Paths(paths=paths, note=note if paths else "nothing matches"))


async def search_content(
    agent: OpenCodeAgent,
    pattern: Annotated[str, Field(max_length=1000, description="A regular expression for one line, in Perl's syntax")],
    ignore_case: bool = False,
    limit: Annotated[int, Field(ge=1, le=500)] = 100,
) -> Annotated[CallToolResult, FoundLines]:
    """Search (grep) the contents of the repository's text files, new ones included and ignored ones not."""
    found = await clone.search(agent.repo, pattern, limit, ignore_case=ignore_case)
    hits = [FoundLine(path=plain(one.path, _PATH), line=one.line, text=one.text) for one in found.hits]
    lines = [f"{one.path}:{one.line}: {one.text}" for one in hits]
    return said("\n".join(lines), FoundLines(hits=hits, note=found.cut or ("" if hits else "nothing matches")))


async def file_content(
    agent: OpenCodeAgent,
    path: Annotated[str, Field(max_length=4000, description="Relative to the repository's top")],
    first_line: Annotated[int, Field(ge=1, le=10_000_000)] = 1,
    max_lines: Annotated[int, Field(ge=1, le=5000)] = 2000,
) -> Annotated[CallToolResult, FileContent]:
    """Read a text file of the repository, or some lines of it."""
    part = await asyncio.to_thread(clone.read, agent.repo, path, first_line, max_lines)
    notes = [f"there is more: go on with firstLine={part.last + 1}"] if part.more else []
    notes += ["long lines were cut"] if part.cut else []
    note = "; ".join(notes)
    result = FileContent(
        path=part.path,
        content=part.text,
        first_line=part.first,
        last_line=part.last,
        size=part.size,
        note=note,
    )
    return said(part.text, result)


async def vcs_diff(agent: OpenCodeAgent) -> Annotated[CallToolResult, Diff]:
    """Diff of the working tree (git diff): everything changed and not committed, as a patch, new files included."""
    try:
        return await diff(agent, await agent.opencode.get("/vcs/diff", mode="git"))
    except TooLarge:
        return await diff(agent, await agent.opencode.get("/vcs/status"), "the patch is too large to show; ")


async def diff(agent: OpenCodeAgent, raw: Sequence[Mapping[str, Any]], note: str = "") -> CallToolResult:
    """Return a diff of OpenCode, cut to size, without what OpenCode itself wrote into the clone."""
    own = await clone.written_by_opencode(agent.repo, [str(one.get("file")) for one in raw])
    shown = [one for one in raw if one.get("file") not in own]
    if own:
        first = ", ".join(sorted(own)[:3]) + (", ..." if len(own) > 3 else "")
        note += f"left out is what OpenCode itself writes at a start, and nobody else changed: {first}; "
    return diff_of(shown, note)


def diff_of(raw: Sequence[Mapping[str, Any]], note: str = "") -> CallToolResult:
    """Return a diff of OpenCode, cut to size."""
    files = [
        ChangedFile(
            file=plain(one.get("file"), _PATH),
            status=plain(one.get("status") or "modified", 60),
            additions=int(one.get("additions") or 0),
            deletions=int(one.get("deletions") or 0),
        )
        for one in raw[:_FILES]
    ]
    note += f"only {_FILES} of {len(raw)} files are listed; " if len(raw) > _FILES else ""
    patches = [head(str(one["patch"]), _PATCH) for one in raw if one.get("patch")]
    patch, cut = head("\n".join(text for text, _ in patches))
    cut = cut or any(short for _, short in patches)
    # OpenCode gives no more than a heading where a file is too large.
    bare = [
        plain(one.get("file")) for one in raw if one.get("patch") and "@@" not in one["patch"] and one.get("additions")
    ]
    note += f"there is no patch of {', '.join(bare[:10])}, too large; " if bare else ""
    note += "the patch is cut: read the files with opencode-file-content; " if cut else ""
    result = Diff(files=files, patch=patch, note=note.rstrip("; ") or ("" if files else "nothing is changed"))
    lines = [f"{one.status} {one.file} +{one.additions} -{one.deletions}" for one in files]
    return said("\n".join([*lines, patch]).strip(), result)


TOOLS: Final = (
    Tool(name="opencode-find-files", title="Find files", function=find_files, read_only=True),
    Tool(name="opencode-search-content", title="Search in files", function=search_content, read_only=True),
    Tool(name="opencode-file-content", title="Read a file", function=file_content, read_only=True),
    Tool(name="opencode-vcs-diff", title="Diff of a project", function=vcs_diff, read_only=True),
)
