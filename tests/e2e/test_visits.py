"""OpenCode's own page in a real Chromium, and its own terminal program, without a password in sight."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from tests.support.browser import Browser, a_browser
from tests.support.fakemodel import FakeModel, provider
from tests.support.frontends import assert_nowhere, serving
from tests.support.strangers import secrets_of
from tests.support.world import PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, WebSocket

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("visits"), pytest.mark.lane]
NAME = "demo"
LIMIT = PATIENCE * 1000
"""Milliseconds."""


@pytest.fixture(name="shown", scope="module")
def _shown(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path
) -> Iterator[World]:
    """A controller and a real OpenCode with a model of ours."""
    with FakeModel() as model, a_world(tmp_path_factory.mktemp("shown"), ports) as world:
        world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
        world.environment["HOME"] = str(world.root / "user")
        world.provide(opencode_program)
        world.write(NAME, f"git: {{url: {world.origin}}}\n")
        serving(world)
        world.ready(NAME)
        yield world


def opened(world: World, *arguments: str) -> str:
    """The address that `open` prints."""
    return world.run("open", NAME, "--print", *arguments).strip()


def enter(browser: Browser, world: World) -> str:
    """Open the page, which makes a draft of a session: what is typed before that is lost. Return the address."""
    address = opened(world)
    browser.page.goto(address)
    browser.page.wait_for_url("**/new-session?draftId=*", timeout=LIMIT)
    return address


def say(browser: Browser, text: str) -> None:
    """Type a prompt once the page knows the model, and wait for its answer."""
    browser.page.get_by_role("button", name="m1", exact=True).wait_for(timeout=LIMIT)
    browser.page.locator("[contenteditable=true]").first.click()
    browser.page.keyboard.type(text)
    browser.page.keyboard.press("Enter")
    browser.page.get_by_text(f"You said: {text}").wait_for(timeout=LIMIT)


def open_terminal(page: Page) -> None:
    """Open the page's terminal, and wait until it has the focus and something was written there."""
    frames: list[object] = []

    def listen(sock: WebSocket) -> bool:
        sock.on("framereceived", lambda frame: frames.append(frame))  # noqa: PLW0108  a method of C is no listener
        return True

    with page.expect_websocket(listen, timeout=LIMIT) as made:
        page.keyboard.press("Control+Backquote")
    if not frames:
        made.value.wait_for_event("framereceived", timeout=LIMIT)
    page.locator("[data-component=terminal]:focus").wait_for(timeout=LIMIT)


def no_password_was_seen(browser: Browser, password: str) -> None:
    """Not as it is, not as Basic, and no header is about it; all requests went to the one host."""
    basic = base64.b64encode(f"opencode:{password}".encode()).decode()
    log = json.dumps([browser.sent, browser.received, browser.urls])
    names = {name.lower() for headers in (*browser.sent, *browser.received) for name in headers}

    assert len(browser.sent) > 20
    assert password not in log
    assert basic not in log
    assert not names & {"authorization", "www-authenticate", "proxy-authorization"}
    assert {url.split("/")[2].partition(":")[0] for url in browser.urls if "://" in url} == {f"{NAME}.localhost"}


def test_a_browser_shows_the_page_and_its_terminal_over_a_restart(shown: World, tmp_path: Path) -> None:
    """Loaded, prompted, a shell used; after a restart the same tab goes on, after a stop it hears so."""
    password, _ = secrets_of(shown, NAME)
    made = shown.home.sandbox(NAME).repo / "made.txt"
    with a_browser(tmp_path / "browser") as browser:
        page, address = browser.page, enter(browser, shown)
        say(browser, "hello there")
        open_terminal(page)
        page.keyboard.type("echo of-the-terminal > made.txt\n")
        shown.until(made.exists, "what the terminal was told to make")
        assert made.read_text() == "of-the-terminal\n"
        assert browser.upgraded[0] == 101
        with page.expect_response(lambda answer: "/event" in answer.url and answer.ok, timeout=LIMIT):
            shown.run("restart", NAME)
        say(browser, "after the restart")
        no_password_was_seen(browser, password)
        cookies = {one["name"]: one["value"] for one in page.context.cookies()}
        stopped(shown, browser, address.partition("code=")[2], cookies["ocm"])
    made.unlink()


def stopped(world: World, browser: Browser, *secrets: str) -> None:
    """Stop, and start again; while no agent writes, no file has a secret."""
    for command, status, said in [
        ("stop", 503, f"cannot show {NAME}: its spec says stopped; start it with: opencode-manager start {NAME}"),
        ("start", 401, f"cannot let this browser in: open this page with: opencode-manager open {NAME}"),
    ]:
        world.run(command, NAME)
        answer = browser.page.reload()
        assert answer is not None
        assert (answer.status, said in browser.page.inner_text("body")) == (status, True)
        for secret in secrets if command == "stop" else ():
            assert_nowhere(world, secret)
    enter(browser, world)


def test_a_link_leads_to_a_session(shown: World, tmp_path: Path) -> None:
    """Its messages are there."""
    session = a_session(shown)
    with a_browser(tmp_path / "browser") as browser:
        browser.page.goto(opened(shown, "--session", session))
        browser.page.get_by_text("You said: for the terminal").wait_for(timeout=LIMIT)


def a_session(world: World) -> str:
    """A session with one answer, by the agent's own `run`."""
    port = world.status(NAME)["agent"]["port"]
    password, _ = secrets_of(world, NAME)
    url = f"http://127.0.0.1:{port}"
    pair = base64.b64encode(f"opencode:{password}".encode()).decode()
    headers = {"authorization": f"Basic {pair}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=PATIENCE) as http:
        session = str(http.post("/session", json={"title": "t"}).json()["id"])
        said = {"parts": [{"type": "text", "text": "for the terminal"}]}
        http.post(f"/session/{session}/message", json=said).raise_for_status()
    return session


@contextlib.contextmanager
def on_terminal(world: World, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command that draws on a terminal of its own, and our side of that."""
    ours, theirs = pty.openpty()
    environment = {**world.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        world.command(*arguments), env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as program:
        os.close(theirs)
        try:
            yield program, ours
        finally:
            program.kill()
            os.close(ours)


def until_drawn(ours: int, wanted: bytes) -> None:
    """Read until it has drawn this."""
    seen = b""
    while wanted not in seen:
        assert select.select([ours], [], [], PATIENCE)[0], seen[-2000:]
        seen += os.read(ours, 65536)


def test_attach_becomes_the_agents_own_program(shown: World, opencode_program: Path) -> None:
    """Of the version that runs; it shows the session, takes a prompt, and has the password by its environment alone."""
    session, (password, _) = a_session(shown), secrets_of(shown, NAME)
    with on_terminal(shown, "attach", NAME, "-s", session) as (program, ours):
        until_drawn(ours, b"for the terminal")
        became = psutil.Process(program.pid)
        assert Path(became.exe()) == opencode_program.resolve()
        assert became.cmdline()[1:3] == ["attach", f"http://127.0.0.1:{shown.status(NAME)['agent']['port']}"]
        assert password not in " ".join(became.cmdline())
        assert became.environ()["OPENCODE_SERVER_PASSWORD"] == password
        os.write(ours, b"typed here\r")
        until_drawn(ours, b"You said: typed here")
