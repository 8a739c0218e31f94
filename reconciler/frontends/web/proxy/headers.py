"""Judge a browser's request, and decide which headers pass the proxy, in either direction. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.mcpkit.http_guard import header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.mcpkit.http_guard import Scope

    Headers = Iterable[tuple[bytes, bytes]]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
COOKIE: Final = "ocm"
_MOST_COOKIES: Final = 8
"""Of this name that are tried: a page on another port of the same host may have set one too."""
_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade".split()
)
_NOT_FROM_BROWSERS: Final = frozenset(
    # `expect` was answered here, and `origin` judged; nobody before us is trusted to say who asks.
    b"authorization cookie expect forwarded host origin".split()
)
_NOT_FROM_AGENTS: Final = frozenset(
    # A cookie of the agent's could take the place of ours. What it demands of us, a browser must not ask a person for.
    b"clear-site-data cross-origin-resource-policy set-cookie set-cookie2 transfer-encoding www-authenticate".split()
)
_ADDED: Final = (
    # Policies add up: this one takes nothing from the agent's own.
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def foreign(scope: Scope) -> str:
    """Say why a request comes from a page of another origin; empty where it does not.

    A page on another port of this very host gets its cookies sent along: it is the origin that tells them apart. A
    browser says it for everything but plain navigation and what it only embeds.
    """
    origin, own = header(scope, b"origin"), f"http://{header(scope, b'host') or ''}"
    if origin is not None and origin.lower() != own.lower():
        return "cannot serve pages of another origin"
    site, mode = header(scope, b"sec-fetch-site"), header(scope, b"sec-fetch-mode")
    if site not in {None, "none", "same-origin"} and mode != "navigate":
        return "cannot be embedded in pages of another origin"
    return ""


def malformed(scope: Scope) -> tuple[int, str] | None:
    """Return the answer to a request that two parsers could understand differently; None for any other."""
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in names and b"content-length" in names:
        return 400, "cannot read a body with two lengths: send Content-Length or Transfer-Encoding"
    if not scope["raw_path"].startswith(b"/"):
        return 400, "cannot serve this address: send a path that begins with /"
    if scope["type"] == "http" and scope["method"] not in METHODS:
        return 405, f"cannot do this here: use one of {', '.join(sorted(METHODS))}"
    return None


def cookies(scope: Scope) -> tuple[str, ...]:
    """Return the values of our cookie that were sent."""
    pairs = (
        pair.strip().partition("=")
        for name, value in scope["headers"]
        if name == b"cookie"
        for pair in value.decode("latin-1").split(";")
    )
    return tuple(value for name, _, value in pairs if name == COOKIE)[:_MOST_COOKIES]


def target(scope: Scope) -> bytes:
    """Return the path and the query, byte by byte as they were sent."""
    raw, query = bytes(scope["raw_path"]), bytes(scope["query_string"])
    return raw + b"?" + query if query else raw


def to_agent(scope: Scope, authority: bytes, authorization: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request as the agent gets it.

    Args:
        scope: of the browser's request.
        authority: host and port of the agent.
        authorization: what lets us in there.
    """
    passing = _passing(scope["headers"], _HOP_BY_HOP | _NOT_FROM_BROWSERS | {name.encode() for name in authorization})
    kept = [(name, value) for name, value in passing if not name.startswith((b"x-forwarded-", b"proxy-"))]
    added = [(name.encode(), value.encode("latin-1")) for name, value in authorization.items()]
    return [(b"host", authority), *kept, *added]


def to_browser(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer as the browser gets it: nothing of it is for other origins."""
    passing = _passing(headers, _HOP_BY_HOP | _NOT_FROM_AGENTS)
    return [*(one for one in passing if not one[0].startswith(b"access-control-")), *_ADDED]


def _passing(headers: Headers, dropped: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield those that are not dropped, nor named in `Connection` as meant for the next hop alone."""
    small = [(name.lower(), value) for name, value in headers]
    named = {one.strip().lower() for name, value in small if name == b"connection" for one in value.split(b",")}
    # No other framing than the one that was read: what `Connection` names of it is not obeyed.
    named -= {b"content-length", b"transfer-encoding", b"content-type"}
    return ((name, value) for name, value in small if name not in dropped and name not in named)
