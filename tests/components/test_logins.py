"""Logins of the user and their copies: nothing that somebody renewed is lost, whoever writes when."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.agents.base import Place
from reconciler.agents.opencode import logins
from reconciler.agents.opencode.logins import Memory, merged, remembered

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 40


def api(key: str) -> dict[str, Any]:
    return {"type": "api", "key": key}


def oauth(number: int) -> dict[str, Any]:
    return {"type": "oauth", "refresh": f"r{number}", "access": f"a{number}", "expires": number}


def memory_of(*results: logins.Logins) -> Memory:
    """What is remembered after an agent was brought to each of these."""
    memory = Memory()
    for result in results:
        memory = remembered(memory, result, ())
    return memory


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return a_place(tmp_path, "one")


def a_place(root: Path, name: str) -> Place:
    xdg = root / name / "xdg"
    xdg.mkdir(parents=True)
    environment = {"HOME": str(root / "user")}
    home = root / name / "home"
    return Place(repo=root, home=home, xdg=xdg, port=1, secret="s", environment=environment, variables={})


def users(root: Path) -> Path:
    return root / "user" / ".local" / "share" / "opencode" / "auth.json"


def copy(place: Place) -> Path:
    return place.xdg / "data" / "opencode" / "auth.json"


def write(path: Path, found: logins.Logins) -> None:
    """Write as OpenCode does: in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def read(path: Path) -> logins.Logins:
    return dict(json.loads(path.read_text()))


def exchange(places: dict[str, Place]) -> None:
    """As often as it takes until what the last one renewed is with the first one."""
    for place in (*places.values(), *places.values()):
        logins.exchange(place)


@pytest.mark.parametrize(
    ("user", "agent", "memory", "result"),
    [
        ({"p": api("1")}, {}, Memory(), {"p": api("1")}),
        ({}, {"p": api("1")}, Memory(), {"p": api("1")}),
        ({"p": api("2")}, {"p": api("1")}, memory_of({"p": api("1")}), {"p": api("2")}),
        ({"p": api("1")}, {"p": api("2")}, memory_of({"p": api("1")}), {"p": api("2")}),
        ({"p": api("3")}, {"p": api("2")}, memory_of({"p": api("1")}), {"p": api("3")}),
        ({}, {"p": api("1")}, memory_of({"p": api("1")}), {}),
        ({"p": api("1")}, {}, memory_of({"p": api("1")}), {"p": api("1")}),
        ({"p": api("2")}, {"p": api("1")}, memory_of({"p": api("1")}, {"p": api("2")}), {"p": api("2")}),
        ({"p": oauth(1)}, {"p": oauth(2)}, memory_of({"p": oauth(1)}), {"p": oauth(2)}),
        ({"p": oauth(3)}, {"p": oauth(2)}, memory_of({"p": oauth(1)}), {"p": oauth(3)}),
        ({"p": oauth(1)}, {"p": oauth(2)}, memory_of({"p": oauth(1)}, {"p": oauth(2)}), {"p": oauth(2)}),
        ({"p": oauth(1)}, {"p": oauth(2)}, memory_of({"p": oauth(2)}), {"p": oauth(1)}),
        ({"p": api("1")}, {"p": oauth(2)}, memory_of({"p": api("1")}), {"p": oauth(2)}),
    ],
    ids=[
        "the user's goes to the agent",
        "a login made at the agent goes to the user",
        "the user changed it",
        "the agent changed it",
        "both changed it: the user's",
        "the user logged out",
        "an agent logs nobody out",
        "the agent wrote back an older one",
        "the agent renewed it",
        "both renewed it: the one that is valid longer",
        "the user's program wrote back an older one",
        "the user logged in as somebody else",
        "another type of login",
    ],
)
def test_two_files_become_one(user: logins.Logins, agent: logins.Logins, memory: Memory, result: logins.Logins) -> None:
    """By what was seen before."""
    assert merged(user, (agent,), memory) == result


def test_a_renewal_reaches_the_user_and_the_other_agents(tmp_path: Path) -> None:
    """Each private, and none of them through a link, as an earlier version had made one."""
    one, two = a_place(tmp_path, "one"), a_place(tmp_path, "two")
    write(users(tmp_path), {"p": oauth(1)})
    copy(one).parent.mkdir(parents=True)
    copy(one).symlink_to(users(tmp_path))
    for place in (one, two):
        logins.exchange(place)
    write(copy(one), {"p": oauth(2)})

    for place in (one, two):
        logins.exchange(place)

    for path in (users(tmp_path), copy(one), copy(two)):
        assert json.loads(path.read_text()) == {"p": oauth(2)}
        assert (path.is_symlink(), path.stat().st_mode & 0o077) == (False, 0)


@pytest.mark.parametrize("text", ["", '{"p": {"ty', "[]", "7"])
def test_a_file_that_is_being_written_takes_no_login_away(place: Place, tmp_path: Path, text: str) -> None:
    """On either side: it is looked at again later."""
    write(users(tmp_path), {"p": oauth(1)})
    logins.exchange(place)
    copy(place).write_text(text)

    logins.exchange(place)

    assert json.loads(users(tmp_path).read_text()) == {"p": oauth(1)}
    write(copy(place), {"p": oauth(2)})
    users(tmp_path).write_text('{"p": {"ty')
    logins.exchange(place)
    assert json.loads(copy(place).read_text()) == {"p": oauth(2)}


def test_only_what_an_agent_reads_at_its_start_changes_its_inputs(place: Place, tmp_path: Path) -> None:
    """A renewed token is none of it; another account, key or provider is."""
    found = [logins.inputs(place)]
    for one in ({"p": oauth(1)}, {"p": oauth(2)}, {"p": {**oauth(2), "accountId": "x"}}, {"p": api("1")}):
        write(users(tmp_path), one)
        found.append(logins.inputs(place))

    assert found[0] == ""
    assert found[1] == found[2]
    assert len(set(found)) == 4


def test_agents_that_renew_while_logins_are_exchanged_lose_none(tmp_path: Path) -> None:
    """Each reads its file, changes it, and writes it back whole, as OpenCode does; all at once, again and again."""
    places = {name: a_place(tmp_path, name) for name in ("one", "two", "three")}
    write(users(tmp_path), {name: oauth(0) for name in places} | {"kept": api("k")})
    exchange(places)
    together = threading.Barrier(len(places) + 1)

    def renew(name: str, path: Path) -> None:
        for number in range(1, ROUNDS + 1):
            together.wait()
            write(path, json.loads(path.read_text()) | {name: oauth(number)})
            together.wait()

    threads = [threading.Thread(target=renew, args=(name, copy(place))) for name, place in places.items()]
    for thread in threads:
        thread.start()
    lost = []
    for number in range(1, ROUNDS + 1):
        together.wait()
        exchange(places)  # while they write
        together.wait()
        exchange(places)
        expected = {name: oauth(number) for name in places} | {"kept": api("k")}
        lost += [path for path in (users(tmp_path), *map(copy, places.values())) if read(path) != expected]
    for thread in threads:
        thread.join()
    assert lost == []


def test_what_is_written_to_a_file_that_was_just_replaced_counts(place: Place, tmp_path: Path) -> None:
    """An agent that had opened it before."""
    write(users(tmp_path), {"p": oauth(1), "q": api("1")})
    logins.exchange(place)
    with copy(place).open("r+") as opened:
        write(users(tmp_path), {"p": oauth(1), "q": api("2")})
        logins.exchange(place)
        opened.truncate()
        json.dump({"p": oauth(2), "q": api("1")}, opened)

    logins.exchange(place)

    assert read(users(tmp_path)) == read(copy(place)) == {"p": oauth(2), "q": api("2")}


def test_a_link_that_an_agent_made_leads_nowhere(place: Place, tmp_path: Path) -> None:
    """Neither as the file nor as its folder: logins are not written where it points."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    write(users(tmp_path), {"p": api("1")})
    (place.xdg / "data").symlink_to(target)

    logins.exchange(place)
    copy(place).unlink()
    copy(place).symlink_to(target / "file")
    logins.exchange(replace(place, secret="t"))

    assert list(target.iterdir()) == []
    assert json.loads(copy(place).read_text()) == {"p": api("1")}
