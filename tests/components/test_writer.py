"""Writing specs: what our tools do to a person's files. Real files, real git."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.settings import Home, Settings, UserError
from reconciler.specs import patch, writer
from reconciler.specs.spec_folder import Accepted, SpecFolder, Touched, scan
from reconciler.specs.writer import SpecExistsError, SpecMissingError, WrittenSpec, create, edit, new_text
from reconciler.specs.yaml_reader import SpecFileError, parse_text
from reconciler.system import announcements, exchange_file

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "# mine\r\ngit: {url: here}   # there\r\n"
CRASHER = """
import sys
from pathlib import Path
from reconciler.specs import writer
from reconciler.settings import Home

print("go", flush=True)
number = 0
while True:
    number += 1
    writer.edit(Path(sys.argv[1]), Home(Path(sys.argv[2])), "blog", {("restarted_at",): str(number)})
"""
STOP: dict[patch.Path, patch.Scalar] = {("state",): "stopped"}


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


@pytest.fixture(name="reader")
def _reader(folder: Path, home: Home) -> SpecFolder:
    return SpecFolder(Settings(home=home, specs=folder))


def put(path: Path, text: str = GOOD) -> Path:
    """A person's file."""
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("key", [None, "~/.ssh/id_ed25519", "/keys/my key"])
def test_new_text(key: str | None) -> None:
    """The text of a new spec says what it was given and no more."""
    text = new_text("git@github.com:user/blog.git", key)

    assert text.startswith("git:\n  url: git@github.com:user/blog.git\n")
    assert parse_text(text, "x.yaml").git.ssh_key == key


def test_create(tmp_path: Path, home: Home) -> None:
    """A new spec is whole, readable as the umask allows, accepted at the first look, and alone in its new folder."""
    folder = tmp_path / "new" / "specs"
    reader = SpecFolder(Settings(home=home, specs=folder))

    written = create(folder, home, "blog", new_text("here"))
    (accepted,) = reader.look(0.0).changes

    assert isinstance(accepted, Accepted)
    assert (accepted.spec.digest(), accepted.token) == (written.digest, written.token)
    assert [path.name for path in folder.iterdir()] == ["blog.yaml"]
    probe = tmp_path / "probe"
    probe.touch()
    assert stat.S_IMODE((folder / "blog.yaml").stat().st_mode) == stat.S_IMODE(probe.stat().st_mode) & 0o644


def test_what_is_written_is_announced_in_this_process(folder: Path, home: Home) -> None:
    """Once it can be read: a controller that runs in this process need not wait for its watch."""
    found: list[str] = []
    with announcements.subscribed(folder, lambda: found.append((folder / "blog.yaml").read_text())):
        create(folder, home, "blog", new_text("here"))
        edit(folder, home, "blog", STOP)
    assert ["stopped" in text for text in found] == [False, True]


@pytest.mark.parametrize("target", ["a file", "a link to nowhere"])
def test_create_never_replaces(folder: Path, home: Home, target: str) -> None:
    """What is there already stays."""
    if target == "a file":
        put(folder / "blog.yaml")
    else:
        (folder / "blog.yaml").symlink_to("nowhere")

    with pytest.raises(SpecExistsError, match=r"cannot create .*blog.yaml: it exists"):
        create(folder, home, "blog", new_text("there"))
    assert [path.name for path in folder.iterdir()] == ["blog.yaml"]
    assert target != "a file" or (folder / "blog.yaml").read_bytes() == GOOD.encode()


def test_create_refuses_nonsense(folder: Path, home: Home) -> None:
    """Nothing is written for a bad name or a text that is no spec."""
    with pytest.raises(UserError, match=r"cannot use '../x' as a project name"):
        create(folder, home, "../x", new_text("here"))
    with pytest.raises(SpecFileError, match=r"cannot use a git url that begins with a dash"):
        create(folder, home, "blog", new_text("--upload-pack=x"))
    assert list(folder.iterdir()) == []


def test_edit_keeps_the_rest(folder: Path, home: Home, reader: SpecFolder) -> None:
    """An edit changes its value, keeps the text around it and the mode, and is accepted at the first look."""
    path = put(folder / "blog.yaml")
    path.chmod(0o640)
    reader.look(0.0)
    reader.look(9.0)

    written = edit(folder, home, "blog", STOP)
    (accepted,) = reader.look(9.0).changes

    assert path.read_bytes() == b"# mine\r\ngit: {url: here}   # there\r\nstate: stopped\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert written.changed
    assert isinstance(accepted, Accepted)
    assert (accepted.spec.digest(), accepted.token) == (written.digest, written.token)


def test_edit_without_a_change_is_a_poke(folder: Path, home: Home, reader: SpecFolder) -> None:
    """Asking for what is so already touches the file: the loop looks at once."""
    create(folder, home, "blog", new_text("here") + "state: stopped\n")
    reader.look(0.0)
    before = scan(folder).files["blog"]

    written = edit(folder, home, "blog", STOP)

    assert not written.changed
    assert written.token.inode == before.inode
    assert reader.look(0.0).changes == (Touched(name="blog"),)


def test_edit_through_a_link(tmp_path: Path, folder: Path, home: Home) -> None:
    """A linked spec stays a link, and what it points to is replaced beside itself."""
    target = put(tmp_path / "elsewhere")
    (folder / "blog.yaml").symlink_to("../elsewhere")

    edit(folder, home, "blog", STOP)

    assert (folder / "blog.yaml").is_symlink()
    assert target.read_text().endswith("state: stopped\n")
    assert [path.name for path in folder.iterdir()] == ["blog.yaml"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("git: {url: here}\nstate: [running]\n", "cannot edit blog.yaml in place: set state: stopped by hand"),
        ("git: {urll: here}\n", r"cannot accept the key 'git.urll'"),
        ("git: [\n", "cannot read blog.yaml:1 as YAML"),
    ],
)
def test_edit_leaves_what_it_cannot_change(folder: Path, home: Home, text: str, sentence: str) -> None:
    """A file that cannot be edited is left as it is."""
    path = put(folder / "blog.yaml", text)

    with pytest.raises(UserError, match=sentence):
        edit(folder, home, "blog", STOP)
    assert path.read_bytes() == text.encode()


def test_edit_of_what_is_no_file(folder: Path, home: Home) -> None:
    """A missing file, a folder and a dangling link each get a sentence."""
    (folder / "folder.yaml").mkdir()
    (folder / "link.yaml").symlink_to("nowhere")

    with pytest.raises(SpecMissingError, match=r"cannot edit .*/blog.yaml: it does not exist"):
        edit(folder, home, "blog", STOP)
    with pytest.raises(UserError, match=r"cannot edit .*/folder.yaml: it is not a regular file"):
        edit(folder, home, "folder", STOP)
    with pytest.raises(UserError, match=r"cannot write .*/link.yaml: .*/nowhere does not exist"):
        edit(folder, home, "link", STOP)


def test_failed_write_is_a_sentence(tmp_path: Path, home: Home) -> None:
    """What the file system refuses is said."""
    put(tmp_path / "file")

    with pytest.raises(UserError, match=r"cannot write .*/file/blog.yaml: .*"):
        create(tmp_path / "file", home, "blog", new_text("here"))


def test_concurrent_edits_are_all_kept(folder: Path, home: Home) -> None:
    """Many writers at once: each one's value is in the text in the end."""
    put(folder / "blog.yaml")

    def write(number: int) -> None:
        edit(folder, home, "blog", {("agent", "env", f"V{number}"): str(number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))

    spec = parse_text((folder / "blog.yaml").read_bytes().decode(), "blog.yaml")
    assert spec.agent.env == {f"V{number}": str(number) for number in range(16)}


def test_persons_edit_wins_over_ours(folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file saved by an editor between our read and our write is read again, not overwritten."""
    path = put(folder / "blog.yaml")
    patch_text = patch.patch_text
    saves = ["git: {url: theirs}\n"]

    def patch_while_somebody_saves(*args: object, **options: object) -> str:
        if saves:
            put(path, saves.pop())
        return patch_text(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(patch, "patch_text", patch_while_somebody_saves)
    edit(folder, home, "blog", STOP)

    assert path.read_text() == "git: {url: theirs}\nstate: stopped\n"


def test_what_was_written_may_be_removed_at_once(folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the controller does with the tombstone of a project of which nothing is left: that is no error."""
    path = folder / "blog.yaml"
    path.write_text("git:\n  url: here\n")
    exchange = exchange_file.exchange

    def exchange_and_remove(one: str, other: str) -> None:
        exchange(one, other)
        path.unlink()

    monkeypatch.setattr(exchange_file, "exchange", exchange_and_remove)

    assert edit(folder, home, "blog", {("state",): "absent"}).changed


def test_never_ending_edits_give_up(folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file changes at each try, the tool says so and writes nothing."""
    path = put(folder / "blog.yaml")
    patch_text = patch.patch_text

    def patch_while_somebody_saves(*args: object, **options: object) -> str:
        put(path, path.read_bytes().decode() + "#\n")
        return patch_text(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(patch, "patch_text", patch_while_somebody_saves)
    with pytest.raises(UserError, match=r"cannot edit .*/blog.yaml: somebody else keeps changing it; try again"):
        edit(folder, home, "blog", STOP)
    assert path.read_bytes() == GOOD.encode() + b"#\n#\n#\n"


def test_held_lock_is_waited_for_and_then_named(folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits for the one before it, but not for ever."""
    put(folder / "blog.yaml")
    waiting = threading.Event()

    def wait_and_edit() -> WrittenSpec:
        waiting.set()
        return edit(folder, home, "blog", STOP)

    with ThreadPoolExecutor(1) as pool:
        with writer.locked(home):
            written = pool.submit(wait_and_edit)
            assert waiting.wait(30)
            assert not written.done()
        assert written.result(30).changed

    monkeypatch.setattr(writer, "_LOCK_LIMIT", 0.0)
    with writer.locked(home), pytest.raises(UserError, match=r"cannot write specs: another program has held"):
        edit(folder, home, "blog", STOP)


def test_crash_leaves_old_or_new(folder: Path, home: Home) -> None:
    """Killed at any moment, a writer leaves a whole spec and no lock."""
    put(folder / "blog.yaml")
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", CRASHER, folder, home.root], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child, child.stdout:
            child.stdout.readline()
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
            child.kill()

        parse_text((folder / "blog.yaml").read_bytes().decode(), "blog.yaml")
        edit(folder, home, "blog", STOP)


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_save_in_the_last_instant_is_never_lost(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    """An editor that saves right before the files change names, again and again."""
    path = put(folder / "blog.yaml")
    exchange, left = exchange_file.exchange, list(range(saves))

    def save_and_exchange(one: str, other: str) -> None:
        if left:
            put(path, f"git: {{url: theirs-{left.pop()}}}\n")
        exchange(one, other)

    monkeypatch.setattr(exchange_file, "exchange", save_and_exchange)
    edit(folder, home, "blog", STOP)

    assert path.read_text() == "git: {url: theirs-0}\nstate: stopped\n"
    assert sorted(each.name for each in folder.iterdir()) == ["blog.yaml"]


def test_where_files_cannot_change_names_a_save_wins_too(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system; here the answer of the kernel is faked."""
    path = put(folder / "blog.yaml")
    saves = ["git: {url: theirs}\n"]

    def refuse(*_: object) -> None:
        if saves:
            put(path, saves.pop())
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(exchange_file, "exchange", refuse)
    edit(folder, home, "blog", STOP)

    assert path.read_text() == "git: {url: theirs}\nstate: stopped\n"
    assert sorted(each.name for each in folder.iterdir()) == ["blog.yaml"]


def test_a_file_removed_in_the_last_instant_stays_removed(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written in its place."""
    path = put(folder / "blog.yaml")
    record_digest = writer._record_digest

    def remove_and_record(*args: Any) -> None:
        path.unlink()
        record_digest(*args)

    monkeypatch.setattr(writer, "_record_digest", remove_and_record)
    with pytest.raises(SpecMissingError):
        edit(folder, home, "blog", STOP)

    assert list(folder.iterdir()) == []
    assert list((home.controller / "vouched").iterdir()) == []
