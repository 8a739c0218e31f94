"""What is known of OpenCode's command line, files and API. Every number and quirk is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.agents.base import Package
from reconciler.agents.opencode.access import KIND, LIVE_PATH, NO_UPDATE, PASSWORD_VARIABLE, USER


@dataclass(frozen=True, kw_only=True)
class AgentKind(Package):
    """One server of OpenCode's kind. Durations are seconds."""

    arguments: tuple[str, ...]
    """After the program; `{port}` is filled in. Never a secret: argv is public."""
    user: str
    """User name of the basic authentication."""
    password_variable: str
    config_variable: str
    config: str
    """JSON given in config_variable: the operator's policy, which a repository cannot override."""
    variables: tuple[tuple[str, str], ...]
    live_path: str
    """Answers 200 as soon as the server is up; without the password 401."""
    ready_path: str
    """Answers 200 only when the project could be loaded."""
    permission_path: str
    """Lists what the agent asks leave for; its run stands still meanwhile."""
    question_path: str
    """Lists what the agent asks the user; its run stands still meanwhile."""
    sessions_path: str
    """Lists sessions, the last used first; below it each session's messages."""
    journal: str
    """Below its XDG folders: written whenever anything is said in a session, and at no other time."""
    log: str
    """Below its XDG folders: what it writes about itself."""
    credentials: str
    """Below its XDG folders: what it logs in to model providers with."""
    locks: str
    """Below its XDG folders: locks of its installs, which one that was killed leaves behind."""
    dispose_path: str
    """POST: ends what the agent started, before TERM (its shells sit in sessions of their own)."""
    grace: float
    """After TERM, before TERM again, and again before KILL."""


OPENCODE: Final = AgentKind(
    name=KIND,
    package="opencode",
    download="about 185 MB",
    default_version="1.18.33",
    programs=("opencode",),
    usual_places=(".opencode/bin/opencode", ".bun/bin/opencode", ".local/bin/opencode"),
    # `serve`, not `web`: the same web UI, and no browser opened. Flags win over a server block in any opencode.json.
    arguments=("serve", "--hostname", "127.0.0.1", "--port", "{port}"),
    user=USER,
    password_variable=PASSWORD_VARIABLE,
    config_variable="OPENCODE_CONFIG_CONTENT",
    config='{"autoupdate":false,"share":"disabled"}',
    variables=(NO_UPDATE,),
    live_path=LIVE_PATH,
    ready_path="/session/status",
    permission_path="/permission",
    question_path="/question",
    sessions_path="/session",
    journal="data/opencode/opencode.db-wal",
    log="data/opencode/log/opencode.log",
    credentials="data/opencode/auth.json",
    locks="state/opencode/locks",
    dispose_path="/global/dispose",
    grace=3.0,
)
