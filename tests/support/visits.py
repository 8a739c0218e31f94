"""A browser's requests to a real controller, without a browser.

Belongs here: letting one in by what `open` prints, and asking for a page. Does not belong here: what is shown.
"""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.support.world import PATIENCE

if TYPE_CHECKING:
    from tests.support.world import World

ADDRESS: Final = re.compile(
    r"http://(?P<host>[a-z0-9.-]+):(?P<port>[0-9]+)(?P<path>/__ocm/enter\?code=(?P<code>[\w-]{43}))\n"
)
"""What `open` prints."""


class Page(NamedTuple):
    """One answer."""

    status: int
    body: str
    cookie: str
    """As it is sent back."""


def get(port: int, name: str, path: str = "/", cookie: str = "") -> Page:
    """Ask for a page on the host of a project. Raises OSError and HTTPException where the answer breaks off."""
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        wire.request("GET", path, headers={"host": f"{name}.localhost:{port}", "cookie": cookie, "connection": "close"})
        answer = wire.getresponse()
        set_cookie = answer.headers["set-cookie"] or ""
        return Page(answer.status, answer.read().decode(), set_cookie.partition(";")[0])
    finally:
        wire.close()


def enter(world: World, port: int, name: str) -> str:
    """The cookie of a browser that was let in."""
    match = ADDRESS.fullmatch(world.run("open", name, "--print"))
    assert match is not None
    page = get(port, name, match["path"])
    assert page.status == 303
    return page.cookie
