"""Reading and searching the clone, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.agents.opencode import clone
from reconciler.agents.opencode.clone import CloneError
from tests.support.opencode import make_repository


@pytest.fixture(name="repo")
def _repo(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("outside\n")
    return make_repository(tmp_path / "repo")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_is_returned_as_it_is(repo: Path) -> None:
    """With its final newline, by a relative path or an absolute one inside."""
    for path in ("src/app.py", "./src/app.py", str(repo / "src" / "app.py")):
        part = clone.read(repo, path, 1, 100)

        assert part.text == (repo / "src" / "app.py").read_text()
        assert (part.path, part.first, part.last, part.more) == ("src/app.py", 1, 2, False)


def test_some_lines_are_returned_with_where_to_go_on(repo: Path) -> None:
    """Pages of lines."""
    (repo / "long.txt").write_text("".join(f"line {number}\n" for number in range(1, 101)))
    part = clone.read(repo, "long.txt", 11, 5)

    assert part.text.split("\n") == ["line 11", "line 12", "line 13", "line 14", "line 15", ""]
    assert (part.first, part.last, part.more) == (11, 15, True)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "src/../../secret.txt",
        "/etc/passwd",
        "",
        "..",
        "a\0b",
        "a\nb",
        "\ud800",
        ".git/config",
        "src/../.git",
    ],
)
def test_no_path_leads_outside(repo: Path, path: str) -> None:
    """Refused by its words alone, with a sentence."""
    with pytest.raises(CloneError, match=r"^cannot "):
        clone.read(repo, path, 1, 10)


@pytest.mark.parametrize(
    "target", ["../secret.txt", "/etc/passwd", ".git/config", "/proc/self/environ", "loop", "gone"]
)
def test_no_link_leads_outside(repo: Path, target: str) -> None:
    """Nor into .git, nor round in a circle."""
    (repo / "loop").symlink_to(target)
    with pytest.raises(CloneError, match=r"^cannot "):
        clone.read(repo, "loop", 1, 10)


def test_a_linked_folder_outside_is_refused(repo: Path) -> None:
    """The link may stand anywhere in the path."""
    (repo / "up").symlink_to("..")
    with pytest.raises(CloneError, match="leads out"):
        clone.read(repo, "up/secret.txt", 1, 10)


def test_a_link_inside_is_followed(repo: Path) -> None:
    """Links are normal in repositories."""
    (repo / "readme").symlink_to("README.md")

    assert clone.read(repo, "readme", 1, 10).text == (repo / "README.md").read_text()


def test_what_is_no_text_file_is_refused_and_leaves_nothing_open(repo: Path) -> None:
    """A pipe does not block, a folder and a missing file say so, a binary file says its size."""
    os.mkfifo(repo / "pipe")
    (repo / "binary").write_bytes(b"\x7fELF\0\0")
    before = open_files()
    for path, reason in (
        ("pipe", "not a file"),
        ("src", "not a file"),
        ("none", "No such file"),
        ("binary", "6 bytes"),
    ):
        with pytest.raises(CloneError, match=reason):
            clone.read(repo, path, 1, 10)

    assert open_files() == before


def test_ten_megabytes_are_cut_to_size(repo: Path) -> None:
    """In many lines and in a single one."""
    (repo / "lines.txt").write_text("0123456789abcde\n" * 2**16 * 10)
    (repo / "line.txt").write_text("x" * 10 * 2**20)
    lines = clone.read(repo, "lines.txt", 1, 1_000_000)
    line = clone.read(repo, "line.txt", 1, 10)

    assert lines.size == 10 * 2**20
    assert len(lines.text) <= clone.FILE_BYTES + clone.LINE_BYTES
    assert lines.more
    assert clone.read(repo, "lines.txt", 655_360, 5).text == "0123456789abcde\n"
    assert line.cut
    assert len(line.text) <= clone.LINE_BYTES + 20


async def test_search_finds_tracked_and_new_files_and_no_ignored_ones(repo: Path) -> None:
    """As a person would want it."""
    (repo / "new file.py").write_text("x = greet('you')\n")
    (repo / ".gitignore").write_text("ignored.py\n")
    (repo / "ignored.py").write_text("greet\n")
    found = await clone.search(repo, r"greet\(\w*", 100, ignore_case=False)

    assert {(one.path, one.line) for one in found.hits} == {("src/app.py", 1), ("new file.py", 1)}
    assert found.cut == ""


async def test_search_says_when_there_is_more(repo: Path) -> None:
    """Hits and output have a limit."""
    (repo / "many.txt").write_text("needle in a haystack, again and again and again\n" * 100_000)
    found = await clone.search(repo, "needle", 50, ignore_case=True)
    all_that_fits = await clone.search(repo, "needle", 1_000_000, ignore_case=True)

    assert len(found.hits) == 50
    assert "first 50" in found.cut
    assert "too many hits" in all_that_fits.cut


@pytest.mark.parametrize("pattern", ["--open-files-in-pager=touch pwned", "-O", "--no-index", "-f/etc/passwd"])
async def test_a_pattern_is_never_an_option(repo: Path, pattern: str) -> None:
    """It is looked for, and nothing runs."""
    found = await clone.search(repo, pattern, 10, ignore_case=False)

    assert found.hits == ()
    assert not (repo / "pwned").exists()


@pytest.mark.parametrize("pattern", ["(", "", "a\0b", "a\nb", "[z-a]"])
async def test_a_bad_pattern_is_refused_with_a_sentence(repo: Path, pattern: str) -> None:
    """Git's own words say what is wrong with it."""
    with pytest.raises(CloneError, match=r"^cannot search for that"):
        await clone.search(repo, pattern, 10, ignore_case=False)


async def test_a_hostile_clone_runs_nothing_and_reads_nothing_outside(repo: Path) -> None:
    """The agent may write the clone's git configuration and plant links."""
    with (repo / ".git" / "config").open("a") as config:
        config.write('[core]\n\tfsmonitor = touch pwned\n\tpager = touch pwned\n[diff "x"]\n\ttextconv = touch pwned\n')
    (repo / ".gitattributes").write_text("* diff=x\n")
    (repo / "link").symlink_to("../secret.txt")
    found = await clone.search(repo, r"outside|def greet", 10, ignore_case=False)

    assert {one.path for one in found.hits} == {"src/app.py"}
    assert not (repo / "pwned").exists()
