"""What clients that nobody here wrote send to the controller's endpoint and to a bridge's: both answer the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reconciler import __version__
from tests.support import bridge as bridges
from tests.support.frontends import serving, token
from tests.support.opencode import free_port
from tests.support.world import a_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
ERAS = ("2025", "2026")
SECRET = "CANARY"
"""Stands for whatever was sent: no answer and no log repeats it."""


@dataclass
class Endpoint:
    url: str
    token: str
    log: Path

    def post(self, content: Any, **headers: str) -> httpx2.Response:
        """Send one message with nothing but these headers beside the necessary ones."""
        request = httpx2.Request("POST", f"{self.url}/mcp", json=content)
        for name, value in {"authorization": f"Bearer {self.token}", **headers}.items():
            request.headers[name.replace("_", "-")] = value
        with httpx2.Client(timeout=60, trust_env=False) as http:
            return http.send(request)

    def ask(self, method: str, era: str, **headers: str) -> httpx2.Response:
        """A request in one of the two eras of the protocol."""
        if era == "2025":
            return self.post(message(method, **(INITIALIZE if method == "initialize" else {})), **headers)
        return self.post(message(method, _meta=META), mcp_protocol_version=VERSION, mcp_method=method, **headers)


@pytest.fixture(name="endpoint", scope="module", params=["controller", "bridge"])
def _endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]
) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("any")
    if request.param == "bridge":
        log = folder / "bridge.log"
        with bridges.running(f"http://127.0.0.1:{free_port()}", folder, log) as bridge:
            yield Endpoint(bridge.url, bridges.TOKEN, log)
        return
    with a_world(folder, ports) as world:
        port = serving(world)
        yield Endpoint(f"http://127.0.0.1:{port}", token(world), world.home.controller / "controller.log")


def message(method: object, number: object = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "accept",
    [
        "",
        "application/json",
        "application/json;q=0.9, */*;q=0.1",
        "application/*",
        "*/*",
        "APPLICATION/JSON; charset=x",
    ],
)
def test_a_client_that_does_not_offer_to_read_a_stream_gets_json(endpoint: Endpoint, era: str, accept: str) -> None:
    answer = endpoint.ask("tools/list", era, **({"accept": accept} if accept else {}))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert len(answer.json()["result"]["tools"]) > 20


def test_a_client_that_offers_to_read_a_stream_gets_one_where_the_protocol_has_it(endpoint: Endpoint) -> None:
    for accept in ("application/json, text/event-stream", "text/event-stream"):
        answer = endpoint.ask("initialize", "2025", accept=accept)
        assert answer.headers["content-type"].startswith("text/event-stream")
    assert endpoint.ask("initialize", "2025", accept="text/html, application/json;q=0").status_code == 406


PARSE, REQUEST, METHOD, PARAMS, UNSUPPORTED = -32700, -32600, -32601, -32602, -32022
BAD: list[tuple[str, object, dict[str, str], int]] = [
    ("a batch", [message(SECRET)], {}, REQUEST),
    ("a batch in 2026", [message(SECRET)], {"mcp_protocol_version": VERSION}, REQUEST),
    ("an empty batch", [], {}, REQUEST),
    ("a text", SECRET, {}, REQUEST),
    ("an id of 1.5", message("ping", 1.5), {}, REQUEST),
    ("an id that is null", message("ping", None), {}, REQUEST),
    ("an id that is an object", message("ping", {SECRET: SECRET}), {}, REQUEST),
    ("an id that is true", message("ping", number=True), {}, REQUEST),
    ("no jsonrpc", {"id": 1, "method": SECRET}, {}, REQUEST),
    ("a method that is a list", message([SECRET]), {}, REQUEST),
    ("params that are a list", message("ping") | {"params": [SECRET]}, {}, REQUEST),
    ("an unknown method", message(f"{SECRET}/x"), {}, METHOD),
    ("a prompt", message("prompts/get", name=SECRET), {}, METHOD),
    ("prompts", message("prompts/list"), {}, METHOD),
    ("a completion", message("completion/complete", ref={"type": "ref/prompt", "name": SECRET}), {}, PARAMS),
    ("an unknown version", message("tools/list"), {"mcp_protocol_version": f"1999 {SECRET}"}, UNSUPPORTED),
    ("an old version", message("tools/list"), {"mcp_protocol_version": "1999-01-01"}, UNSUPPORTED),
    ("a version that is a number", message("initialize", **INITIALIZE | {"protocolVersion": 5}), {}, PARAMS),
]


@pytest.mark.parametrize(("what", "sent", "headers", "code"), BAD, ids=[one[0] for one in BAD])
def test_a_wrong_message_gets_the_error_of_the_protocol(
    endpoint: Endpoint, what: str, sent: object, headers: dict[str, str], code: int
) -> None:
    answer = endpoint.post(sent, accept="application/json", **headers)

    assert answer.json()["error"]["code"] == code, what
    assert answer.json()["id"] == (sent["id"] if isinstance(sent, dict) and type(sent.get("id")) is int else None)
    assert len(answer.text) < 300
    assert SECRET not in answer.text
    assert "Traceback" not in endpoint.log.read_text()
    assert SECRET not in endpoint.log.read_text()


def test_an_unknown_prompt_in_the_newest_protocol_is_no_internal_error(endpoint: Endpoint) -> None:
    headers = {"mcp_protocol_version": VERSION, "mcp_method": "prompts/get", "mcp_name": SECRET}
    answer = endpoint.post(message("prompts/get", name=SECRET, _meta=META), accept="application/json", **headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, METHOD)
    assert "Traceback" not in endpoint.log.read_text()


def test_what_is_no_json_at_all_is_a_parse_error(endpoint: Endpoint) -> None:
    headers = {"authorization": f"Bearer {endpoint.token}", "content-type": "application/json"}
    for content in (b"", b"{" + SECRET.encode(), b"\xff", b"[" * 100_000, b'{"id":' + b"9" * 5000):
        answer = httpx2.post(f"{endpoint.url}/mcp", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, {"code": PARSE, "message": "Parse error"})


def test_a_version_from_the_future_is_answered_with_one_that_is_spoken(endpoint: Endpoint) -> None:
    answer = endpoint.post(message("initialize", **INITIALIZE | {"protocolVersion": "2099-01-01"}))

    assert answer.json()["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("era", ERAS)
def test_a_server_says_its_version_and_offers_only_what_it_has(endpoint: Endpoint, era: str) -> None:
    result = endpoint.ask("initialize" if era == "2025" else "server/discover", era).json()["result"]
    about = result["serverInfo"] if era == "2025" else result["_meta"]["io.modelcontextprotocol/serverInfo"]

    assert about["version"] == __version__
    has_resources = about["name"] == "ocm"
    assert result["capabilities"].keys() == ({"tools", "resources"} if has_resources else {"tools"})
    for kind in ("prompts", *(() if has_resources else ("resources",))):
        assert endpoint.ask(f"{kind}/list", era).json()["error"]["code"] == METHOD


@pytest.mark.parametrize("host", ["localhost:14310", "127.0.0.1:14310", "[::1]:14310", "LOCALHOST:1", "127.0.0.1"])
def test_at_the_other_end_of_a_tunnel_any_local_port_works(endpoint: Endpoint, host: str) -> None:
    for era in ERAS:
        assert endpoint.ask("tools/list", era, host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:1", "localhost@evil.example", "localhost:x", "127.0.0.2:80", "::1"]
)
def test_a_page_that_rebinds_its_name_is_kept_out(endpoint: Endpoint, host: str) -> None:
    assert endpoint.ask("tools/list", "2026", host=host).status_code == 421


def test_a_page_that_an_agent_serves_on_another_port_is_kept_out(endpoint: Endpoint) -> None:
    for origin in ("http://127.0.0.1:3000", "http://localhost:14310", "https://evil.example", "null"):
        answer = endpoint.ask("tools/list", "2026", host="localhost:14310", origin=origin)
        assert answer.status_code == 403, origin


def test_who_sends_no_token_makes_none_and_learns_no_path(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]
) -> None:
    with a_world(tmp_path_factory.mktemp("token"), ports) as world:
        port, path = serving(world), world.home.controller / "token"
        for spoil in (path.unlink, lambda: path.write_bytes(b"\xff\xfe"), lambda: path.chmod(0o644)):
            spoil()
            before = sorted(one.name for one in path.parent.iterdir())
            answer = httpx2.post(f"http://127.0.0.1:{port}/mcp", json=message("ping"))
            assert answer.status_code == 401
            assert str(world.home.root) not in answer.text
            assert sorted(one.name for one in path.parent.iterdir()) == before
        assert str(path) in world.run("status", code=None)
