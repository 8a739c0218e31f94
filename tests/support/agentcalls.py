"""Calls to the agent of a world's project, as its user makes them."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any

from reconciler.agents.opencode.kind import OPENCODE
from tests.support.world import read_env

if TYPE_CHECKING:
    from tests.support.world import World


def ask(world: World, project: str, method: str, path: str, body: object = None) -> Any:
    """One call to an agent as its user."""
    password = read_env(world.home.sandbox(project).env_file)[OPENCODE.password_variable]
    pair = base64.b64encode(f"{OPENCODE.user}:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", world.status(project)["agent"]["port"], timeout=60)
    try:
        headers = {"authorization": f"Basic {pair}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)
    finally:
        connection.close()
