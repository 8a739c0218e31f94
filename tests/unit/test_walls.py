"""What bubblewrap is told: pure."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.engines.local.confinement import private_places, walls
from reconciler.engines.local.confinement.walls import PathAccess, Walls, access_of

HIDDEN, PRIVATE, READ, WRITE = PathAccess.HIDDEN, PathAccess.PRIVATE, PathAccess.READ, PathAccess.WRITE


def made(**fields: Any) -> Walls:
    return Walls(**{"bubblewrap": "/usr/bin/bwrap", "folder": "/work", "places": {}} | fields)


def mounts(**places: PathAccess) -> list[str]:
    """The mounts that are made for places, whose names have an underscore for each slash."""
    return of({name.replace("_", "/"): reach for name, reach in places.items()})


def of(places: dict[str, PathAccess], files: frozenset[str] = frozenset()) -> list[str]:
    words = walls.command(made(places=places, files=files))
    kept = words[words.index(walls.CONTROL[-1], len(words) - words[::-1].index(walls.CONTROL[-1]) - 1) + 1 : -3]
    return " ".join(kept).replace(" --", "\n--").splitlines()


def test_the_whole_machine_can_be_read_and_nothing_written() -> None:
    """That is what nothing said comes to."""
    words = walls.command(made())

    assert words[0] == "/usr/bin/bwrap"
    assert words[-3:] == ("--chdir", "/work", "--")
    assert " ".join(words).count("--ro-bind / /") == 1
    assert "--bind" not in words


def test_mounts_of_later_are_kept_out_where_that_can_be() -> None:
    """By a mount namespace that hears of none, round that of bubblewrap."""
    words = walls.command(made(unshare="/usr/bin/unshare"))

    assert " ".join(words).startswith(
        "/usr/bin/unshare --user --map-current-user --mount --propagation private -- /usr/"
    )


@pytest.mark.parametrize("name", ["user", "pid", "ipc", "uts"])
def test_namespaces_are_its_own(name: str) -> None:
    assert f"--unshare-{name}" in walls.command(made())


def test_it_gains_nothing_and_shares_the_network() -> None:
    """No capability, no namespace within, and the machine's network."""
    words = walls.command(made())

    assert "--cap-drop ALL" in " ".join(words)
    assert "--disable-userns" in words
    assert "--unshare-net" not in words


def test_no_value_of_a_variable_can_be_an_argument() -> None:
    """Everybody reads arguments."""
    assert {"--setenv", "--clearenv"}.isdisjoint(walls.command(made()))


@pytest.mark.parametrize(("ends_with_us", "words"), [(True, 1), (False, 0)])
def test_an_agent_outlives_who_started_it(*, ends_with_us: bool, words: int) -> None:
    """Its keeper may be killed and replaced; a git of the manager's must not be left behind."""
    assert walls.command(made(ends_with_us=ends_with_us)).count("--die-with-parent") == words


def test_one_that_is_run_at_a_terminal_cannot_type_there() -> None:
    """What it typed would run outside, as the person who is there."""
    assert walls.command(made(own_session=True)).count("--new-session") == 1
    assert "--new-session" not in walls.command(made())


def test_what_root_could_change_of_the_kernel_is_read_only() -> None:
    """After the process file system is there, or it would be mounted over."""
    words = " ".join(walls.command(made()))

    assert words.index("--proc /proc") < words.index("--ro-bind-try /proc/sys /proc/sys")


def test_the_outer_ones_come_first() -> None:
    """The home is hidden, the sandbox in it is written, and a key there is read."""
    assert mounts(_home_keys_own=READ, _home=HIDDEN, _home_box=WRITE) == [
        "--tmpfs /home",
        "--bind /home/box /home/box",
        "--ro-bind /home/keys/own /home/keys/own",
        "--remount-ro /home",
    ]


def test_a_hidden_folder_stays_hidden_in_one_that_is_allowed() -> None:
    assert mounts(_u=WRITE, _u_ssh=HIDDEN) == ["--bind /u /u", "--tmpfs /u/ssh", "--remount-ro /u/ssh"]


def test_a_hidden_file_is_one_that_cannot_be_opened() -> None:
    """A device, where devices are none."""
    assert of({"/u/netrc": HIDDEN}, frozenset({"/u/netrc"})) == ["--ro-bind /dev/null /u/netrc"]


def test_what_is_as_round_it_is_not_mounted() -> None:
    """Read-only in read-only, hidden in hidden or in what is empty anyway, written in written."""
    assert mounts(_a=READ) == []
    assert mounts(_b=HIDDEN, _b_c=HIDDEN) == ["--tmpfs /b", "--remount-ro /b"]
    assert mounts(_t=PRIVATE, _t_c=HIDDEN) == ["--tmpfs /t"]
    assert mounts(_d=WRITE, _d_c=WRITE) == ["--bind /d /d"]


def test_neighbours_with_a_common_beginning_are_strangers() -> None:
    """`/box` is not above `/box-2`; and one beside it does not come between a folder and what is in it."""
    assert access_of({"/box": WRITE}, "/box-2") is READ
    assert mounts(**{"_box": HIDDEN, "_box-2": WRITE, "_box_in": READ}) == [
        "--tmpfs /box",
        "--ro-bind /box/in /box/in",
        "--bind /box-2 /box-2",
        "--remount-ro /box",
    ]


def test_private_places_of_a_user() -> None:
    """In their home, where the standard's variables lead, and where each program's own do."""
    found = set(
        private_places.of_user(
            {"HOME": "/u/", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "KUBECONFIG": "/k1:/k2", "GNUPGHOME": "/g"}
        )
    )

    assert {"/u/.ssh", "/u/.config/gh", "/c/gh", "/d/keyrings", "/k1", "/k2", "/g"} <= found
    assert "" not in found


def test_homes_of_others() -> None:
    """People's and root's, not those of services, nor one that ours lies in."""
    users = (
        "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/false\nann:x:1000:1000::/srv/ann/:/bin/sh\n"
        "me:x:1001:1001::/data/me:/bin/sh\nall:x:1002:1002::/data:/bin/sh\nnobody:x:65534:65534::/none:/bin/false\n"
        "broken\n"
    )

    assert set(private_places.of_others(users, ["/data/me", "/x"])) == {"/home", "/root", "/srv/ann"}
