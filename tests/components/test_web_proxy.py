"""An agent's own page behind the controller: who is let in, what passes, and what never does."""

from __future__ import annotations

import errno
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.frontends.web import hosts
from reconciler.frontends.web.proxy import sessions
from reconciler.frontends.web.proxy.sessions import BrowserSessions
from reconciler.settings import Home
from reconciler.system import files
from tests.support.opencode import free_port
from tests.support.runs import record_leader
from tests.support.strangers import a_stranger
from tests.support.webstage import BASIC, NAME, PASSWORD, Reply, Stage, a_stage, everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

OPEN = f"opencode-manager open {NAME}"


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(tmp_path) as stage:
        yield stage


# -- who is let in ----------------------------------------------------------------------------------------------------


async def test_a_code_becomes_a_cookie_and_the_agent_hears_its_password_and_no_cookie(stage: Stage) -> None:
    """The browser gets neither the password nor anything made of it."""
    code = stage.sessions.invite(NAME, "/where/to")
    entered = await stage.ask(f"/__ocm/enter?code={code}")
    cookie, *about = entered.headers["set-cookie"].split("; ")
    page = await stage.ask("/x?y=%2F&z", cookie=f"theme=dark; {cookie}", authorization="Basic bXk6b3du")

    assert (entered.status, entered.headers["location"]) == (303, "/where/to")
    assert about == ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=43200"]
    assert (page.status, page.body) == (200, b"the page")
    assert [one[:2] for one in stage.agent.heard] == [("GET", b"/x?y=%2F&z")]
    assert (stage.agent.header("authorization"), stage.agent.header("cookie")) == ([BASIC], [])
    assert stage.agent.header("host") == [b"127.0.0.1:%d" % stage.agent_port]
    for reply in (entered, page):
        assert PASSWORD not in str(reply)
        assert BASIC.decode() not in str(reply)


async def test_without_a_cookie_nobody_is_let_in_and_hears_how(stage: Stage) -> None:
    """Whether the project is there or not: a page for people, a sentence for scripts."""
    for cookie in (None, "ocm=", "ocm=wrong", "ocm=\xff", "theme=dark; " * 50):
        reply = await stage.ask(cookie=cookie)
        assert (reply.status, reply.body.decode()) == (
            401,
            f"cannot let this browser in: open this page with: {OPEN}\n",
        )
    page = await stage.ask(accept="text/html,*/*")
    assert f"<p>cannot let this browser in: open this page with: {OPEN}</p>" in page.body.decode()
    other = await stage.ask(host="other.localhost")
    assert (other.status, stage.agent.heard) == (401, [])


async def test_a_code_works_once_within_its_time_and_for_its_project(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is refused, with the way to a new one."""
    used = stage.sessions.invite(NAME)
    assert (await stage.ask(f"/__ocm/enter?code={used}")).status == 303
    revoked = stage.sessions.invite(NAME)
    stage.sessions.revoke(NAME)
    monkeypatch.setattr(sessions, "CODE_LIFE", -1.0)
    late = stage.sessions.invite(NAME)
    monkeypatch.undo()
    others = stage.sessions.invite("other")

    for code in (used, revoked, late, others, "", "x" * 1000, "%00"):
        reply = await stage.ask(f"/__ocm/enter?code={code}")
        assert (reply.status, OPEN in reply.body.decode()) == (403, True), code
        assert "set-cookie" not in reply.headers
    assert stage.agent.heard == []


async def test_a_code_is_not_used_up_while_the_agent_does_not_run(stage: Stage) -> None:
    """It leads in as soon as it does."""
    code = stage.sessions.invite(NAME)
    stage.publish(agent={"state": "starting", "port": None})
    assert (await stage.ask(f"/__ocm/enter?code={code}")).status == 503
    stage.publish()

    assert (await stage.ask(f"/__ocm/enter?code={code}")).status == 303


async def test_a_cookie_ends_with_its_time_and_when_it_is_revoked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this project alone; a controller that starts later knows the others."""
    cookie = await stage.enter()
    assert (await stage.ask(cookie=cookie)).status == 200
    assert (await stage.ask(cookie=f"ocm=of-another-port; {cookie}")).status == 200
    assert BrowserSessions(stage.settings.home).known(NAME, cookie.removeprefix("ocm="))
    assert (await stage.ask(cookie=cookie, host="other.localhost")).status == 401
    assert stage.sessions.revoke(NAME) == 1
    assert (await stage.ask(cookie=cookie)).status == 401
    monkeypatch.setattr(sessions, "COOKIE_LIFE", -1.0)
    assert (await stage.ask(cookie=await stage.enter())).status == 401


async def test_a_stop_ends_all_cookies_and_browsers_hear_why(stage: Stage) -> None:
    """After a start they must be let in again; one that never was hears nothing of it."""
    cookie = await stage.enter()
    stage.sessions.stop(NAME)
    stage.publish(desired="stopped", agent={"state": "stopped", "port": None})
    stopped = await stage.ask(cookie=cookie)
    assert (stopped.status, "retry-after" in stopped.headers) == (503, False)
    assert f"cannot show {NAME}: its spec says stopped; start it with: opencode-manager start" in stopped.body.decode()
    assert (await stage.ask()).status == 401
    stage.publish()
    assert (await stage.ask(cookie=cookie)).status == 401


async def test_a_stop_that_cannot_be_written_down_ends_all_cookies_nevertheless(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk nobody hears why. A stop of what is stopped writes nothing."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    cookie = await stage.enter()
    monkeypatch.setattr(files, "replace_file", full)
    stage.sessions.stop(NAME)
    stage.sessions.stop(NAME)

    assert (await stage.ask(cookie=cookie)).status == 401


async def test_another_password_ends_all_cookies(stage: Stage) -> None:
    """Nobody has to notice the change; back with the old one they count again, since it is the same lock."""
    cookie = await stage.enter()
    stage.password("another-password-0123456789")

    assert (await stage.ask(cookie=cookie)).status == 401
    assert stage.agent.heard == []


async def test_codes_and_cookies_are_nowhere_and_their_hashes_are_private(stage: Stage) -> None:
    """In no file; and the launcher with a code goes when it is used."""
    cookie = (await stage.enter()).removeprefix("ocm=")
    code = stage.sessions.invite(NAME)
    folder = stage.settings.home.controller / "web"
    assert code not in everything(stage.settings)
    assert cookie not in everything(stage.settings)
    launcher = stage.sessions.launcher(NAME, f"http://{stage.host}/__ocm/enter?code={code}")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert (stat.S_IMODE(folder.stat().st_mode), code in launcher.read_text()) == (0o700, True)
    await stage.ask(f"/__ocm/enter?code={code}")
    assert not launcher.exists()


@pytest.mark.parametrize("text", ["", "null", "{}", '{"boot": "another", "codes": [], "cookies": []}', '{"boot": 1'])
async def test_a_file_of_another_boot_or_a_broken_one_lets_nobody_in(stage: Stage, text: str) -> None:
    """And does no harm."""
    cookie = await stage.enter()
    (stage.settings.home.controller / "web" / f"{NAME}.json").write_text(text)

    assert (await stage.ask(cookie=cookie)).status == 401
    assert (await stage.ask(cookie=await stage.enter())).status == 200


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    """The oldest go."""
    known = BrowserSessions(Home(tmp_path))
    codes = [known.invite(NAME) for _ in range(sessions.MOST + 1)]

    assert [known.invited(NAME, code) for code in codes] == [False] + [True] * sessions.MOST
    known.forget(NAME)
    assert not known.invited(NAME, codes[-1])
    assert known.revoke(NAME) == 0


# -- requests of others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": f"{NAME}.localhost.evil.example"}, 421),
        ({"host": f"a.b.{NAME}.localhost"}, 421),
        ({"host": f"{NAME}.localhost:99999999"}, 421),
        ({"host": f"{NAME}.localhost@evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://{NAME}.localhost:3000"}, 403),
        ({"origin": "https://{host}"}, 403),
        ({"origin": "http://{host}.evil.example"}, 403),
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 200),
        ({"origin": "http://{host}"}, 200),
        ({"host": f"{NAME}.localhost:5000", "origin": f"http://{NAME}.localhost:5000"}, 200),
    ],
)
async def test_pages_of_others_reach_nothing(stage: Stage, headers: dict[str, Any], status: int) -> None:
    """Though a browser sends our cookie along for them; at the end of an SSH tunnel the port is another."""
    cookie = await stage.enter()
    filled: dict[str, Any] = {name: value.replace("{host}", stage.host) for name, value in headers.items()}
    reply = await stage.ask(cookie=cookie, **filled)

    assert (reply.status, len(stage.agent.heard)) == (status, int(status == 200))


async def test_an_answer_is_for_nobody_else(stage: Stage) -> None:
    """No cookie of the agent's, no question for a password, no leave for other origins or frames."""
    stage.agent.headers = [
        (b"set-cookie", b"ocm=evil"),
        (b"www-authenticate", b'Basic realm="Secure Area"'),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
        (b"clear-site-data", b'"cookies"'),
        (b"connection", b"x-hop"),
        (b"x-hop", b"1"),
        (b"content-security-policy", b"default-src 'self'"),
        (b"content-encoding", b"gzip"),
    ]
    reply = await stage.ask(cookie=await stage.enter())

    assert reply.body == b"the page"
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["content-security-policy"] == "frame-ancestors 'none'"  # the second one
    assert (reply.headers["x-frame-options"], reply.headers["cross-origin-resource-policy"]) == ("DENY", "same-origin")
    gone = {"set-cookie", "www-authenticate", "clear-site-data", "x-hop"}
    assert not {name for name in reply.headers if name in gone or name.startswith("access-control-")}


async def test_what_is_ours_never_reaches_the_agent(stage: Stage) -> None:
    """Nor is a code taken by another method."""
    cookie = await stage.enter()
    code = stage.sessions.invite(NAME)
    for method, target, status in [("GET", "/__ocm/", 404), ("POST", f"/__ocm/enter?code={code}", 405)]:
        assert (await stage.ask(target, method, cookie=cookie)).status == status
    assert stage.agent.heard == []
    assert stage.sessions.invited(NAME, code)


@pytest.mark.parametrize("name", ["demo", "ocm", "xn--bcher-kva", "xn--" + "a" * 59, "a", "0", "m-o"])
def test_each_project_has_a_host_name_of_its_own(name: str) -> None:
    """Also those that cannot be a label."""
    found = hosts.host(name)

    assert (hosts.project(found), hosts.project(f"{found}:4099"), hosts.project(found.upper())) == (name, name, name)
    assert all(len(label) <= 63 for label in found.split("."))
    assert not found.startswith(("xn--", "ocm."))


@pytest.mark.parametrize(
    "host", ["ocm.localhost", "xn--a.localhost", "emo.d.localhost", "localhost", "", "demo.localhost."]
)
def test_no_other_host_name_is_a_project(host: str) -> None:
    assert hosts.project(host) is None


# -- agents that are not there ----------------------------------------------------------------------------------------


@pytest.fixture(name="silent")
def _silent() -> Iterator[int]:
    """A process that listens nowhere."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate()


async def test_a_stranger_on_the_port_hears_nothing(stage: Stage, tmp_path: Path, silent: int) -> None:
    """The agent has not begun to listen on its port, and somebody else does: the browser hears that it is away."""
    cookie, port = await stage.enter(), free_port()
    with a_stranger(port, tmp_path, PASSWORD) as stranger:
        record_leader(stage.settings.home.sandbox(NAME).run, silent, port=port)
        reply = await stage.ask(cookie=cookie)
        assert (reply.status, reply.headers["retry-after"], stranger.heard()) == (503, "2", b"")


@pytest.mark.parametrize(
    ("changes", "said", "again"),
    [
        (
            {"agent": {"state": "starting", "port": None}, "reason": "Starting"},
            "its agent is starting (Starting)",
            True,
        ),
        (
            {
                "agent": {"state": "exited", "port": None},
                "stalled": {"status": True, "reason": "Parked", "message": "it ended <5> times"},
            },
            "it ended &lt;5&gt; times; see opencode-manager status demo",
            False,
        ),
        ({"desired": "absent"}, "its spec says absent", False),
    ],
)
async def test_a_browser_hears_why_nothing_is_shown(
    stage: Stage, changes: dict[str, Any], said: str, *, again: bool
) -> None:
    """And asks again by itself where that ends by itself."""
    cookie = await stage.enter()
    stage.publish(**changes)
    reply = await stage.ask(cookie=cookie, accept="text/html")

    assert reply.status == 503
    assert said in reply.body.decode()
    assert (b"http-equiv" in reply.body, "retry-after" in reply.headers) == (again, again)


@pytest.mark.parametrize(("status", "passed"), [(401, 503), (404, 404), (599, 599), (304, 304), (204, 204)])
async def test_what_the_agent_answers_is_handed_on_but_for_a_refused_password(
    stage: Stage, status: int, passed: int
) -> None:
    """A browser would ask a person for it."""
    cookie = await stage.enter()
    stage.agent.status = status
    reply = await stage.ask(cookie=cookie, method="HEAD")

    assert (reply.status, "www-authenticate" in reply.headers) == (passed, False)


async def test_a_project_that_nobody_knows_is_not_shown(stage: Stage) -> None:
    """Its cookie was of one that is gone."""
    cookie = await stage.enter()
    stage.settings.home.state_file.unlink()
    reply: Reply = await stage.ask(cookie=cookie)

    assert (reply.status, b"nothing is known of it yet" in reply.body) == (503, True)
