"""The git failures: each is real git, ssh or a filter that fails, and is said by its cause, with what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from reconciler.engines.local.git.git import GitProblemKind as Kind
from tests.support import gitcases as beyond
from tests.support import gitcases_local as here
from tests.support.gitcases import SECRET
from tests.support.gitscenes import Scene, Shared, shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from reconciler.engines.local.git.git import GitProblem


@pytest.fixture(name="base", scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("git-failures")) as base:
        yield base


@pytest.fixture(name="scene")
def _scene(base: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(base, tmp_path, monkeypatch)


def said(scene: Scene, problem: GitProblem, url: str, kind: Kind, words: tuple[str, ...]) -> None:
    """It is of this kind, says these words to the user, begins as all do, and holds no secret."""
    outcome = scene.outcome(problem, url)
    message = getattr(outcome, "message", "")
    assert problem.kind is kind, str(problem)
    assert message.startswith("cannot ")
    assert SECRET not in message
    assert "and retry with" not in message
    assert "hung up" not in message
    for word in words:
        assert word in message


FORGES: Final = {
    "github: not found": ("ERROR: Repository not found.\n", Kind.NO_ACCESS, "add the public key"),
    "github: sso": (
        (
            "ERROR: The 'acme' organization has enabled or enforced SAML SSO.\nTo access this repository, you must "
            "re-authorize the SSH key\n"
        ),
        Kind.NO_ACCESS,
        "authorize the key",
    ),
    "github: ip allow list": (
        "ERROR: The acme organization has an IP allow list enabled, and your IP address is not permitted.\n",
        Kind.NO_ACCESS,
        "machine's address",
    ),
    "github: disabled": ("ERROR: Repository 'a/b' is disabled. Please ask the owner.\n", Kind.NO_ACCESS, "is disabled"),
    "github: read only": (
        "ERROR: The key you are authenticating with has been marked as read only.\n",
        Kind.NO_ACCESS,
        "write access where it was added",
    ),
    "gitlab: not found": (
        "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it.\n",
        Kind.NO_ACCESS,
        "could not be found",
    ),
    "gitlab: blocked": ("remote: ERROR: Your account has been blocked.\n", Kind.NO_ACCESS, "has been blocked"),
    "gitlab: too often": (
        "remote: ERROR: This endpoint has been requested too many times. Try again later.\n",
        Kind.UNREACHABLE,
        "too many times",
    ),
    "gitlab: down": ("remote: ERROR: Internal API unreachable\n", Kind.UNREACHABLE, "Internal API unreachable"),
    "gitlab: no gitaly": (
        "remote: ERROR: The git server, Gitaly, is not available at this time. Please contact your administrator.\n",
        Kind.UNREACHABLE,
        "Gitaly",
    ),
    "bitbucket: denied": ("conq: repository access denied.\n", Kind.NO_ACCESS, "access denied"),
    "azure: not found": (
        "remote: TF401019: The Git repository with name or identifier x does not exist or you do not have rights\n",
        Kind.NO_ACCESS,
        "TF401019",
    ),
    "azure: key": ("remote: Public key authentication failed.\n", Kind.NO_ACCESS, "add the public key"),
    "gitea: unauthorized": ("Gitea: Unauthorized\n", Kind.NO_ACCESS, "Unauthorized"),
    "gerrit: not found": ("fatal: Project not found: x\n", Kind.NO_ACCESS, "Project not found"),
    "no shell": ("This account is currently not available.\n", Kind.NO_ACCESS, "not available"),
    "sftp only": ("This service allows sftp connections only.\n", Kind.NO_ACCESS, "sftp connections only"),
    "no git": ("bash: line 1: git-upload-pack: command not found\n", Kind.OTHER, "the server has no git on its PATH"),
    "its own ownership": (
        "fatal: detected dubious ownership in repository at '/srv/x'\nTo add an exception for this directory, call:\n",
        Kind.NO_ACCESS,
        "safe.directory '/srv/x'",
    ),
    "its own disk": ("fatal: write error: No space left on device\n", Kind.DISK_FULL, "make room"),
    "nothing": ("", Kind.UNREACHABLE, "ended the connection"),
}
"""What forges print: it cannot be had from them in a test, so a real ssh server of ours says it to the real ssh."""


@pytest.mark.parametrize("name", FORGES)
async def test_what_a_forge_says_is_understood(scene: Scene, name: str) -> None:
    """By the words of the forge, not by the line that git adds for all of them."""
    text, kind, words = FORGES[name]
    url = scene.base.forge.says(name.replace(" ", "-").replace(":", ""), text)

    said(scene, await scene.reach(url), url, kind, (words,))


STATUSES: Final = {
    401: (Kind.NO_ACCESS, "a private repository needs its ssh url"),
    403: (Kind.NO_ACCESS, "error: 403"),
    404: (Kind.NO_ACCESS, "not found"),
    410: (Kind.NO_ACCESS, "error: 410"),
    429: (Kind.UNREACHABLE, "error: 429"),
    500: (Kind.UNREACHABLE, "error: 500"),
    502: (Kind.UNREACHABLE, "error: 502"),
    503: (Kind.UNREACHABLE, "error: 503"),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_what_an_http_status_means(scene: Scene, status: int) -> None:
    """Whether it passes by itself, or a person has to do something."""
    kind, words = STATUSES[status]
    url = scene.base.https.url(f"status/{status}/x").replace("https://", f"https://{SECRET}@")

    said(scene, await scene.reach(url), "https://127.0.0.1/x", kind, (words,))


CASES: Final[tuple[tuple[Callable[[Scene], Awaitable[GitProblem]], Kind, str, str], ...]] = (
    (beyond.ssh_refuses_the_key, Kind.NO_ACCESS, "Permission denied (publickey)", "add the public key the-key.pub"),
    (beyond.ssh_finds_another_host_key, Kind.HOST_KEY_CHANGED, "not the pinned one", "delete line 1 of"),
    (beyond.ssh_demands_a_known_host, Kind.HOST_KEY_UNKNOWN, "no host key of [127.0.0.1]:", "known_hosts"),
    (beyond.ssh_cannot_read_the_key, Kind.SETUP, "ssh cannot use the key", "git.ssh_key"),
    (beyond.ssh_has_no_key, Kind.SETUP, "there is no key", "git.ssh_key"),
    (beyond.ssh_is_not_installed, Kind.SETUP, "ssh is not on the manager's PATH", "install OpenSSH's client"),
    (beyond.ssh_meets_a_web_server, Kind.UNREACHABLE, "kex_exchange_identification", ""),
    (beyond.ssh_meets_a_greeting, Kind.OTHER, "does not speak git's protocol", "print nothing of its own"),
    (beyond.ssh_finds_a_closed_port, Kind.UNREACHABLE, "Connection refused", ""),
    (beyond.ssh_finds_no_such_host, Kind.UNREACHABLE, "Could not resolve hostname", ""),
    (beyond.https_by_an_unknown_authority, Kind.CERTIFICATE, "certificate", "http.sslCAInfo"),
    (beyond.https_with_an_expired_certificate, Kind.CERTIFICATE, "certificate", "renewed"),
    (beyond.https_with_another_host_name, Kind.CERTIFICATE, "certificate", "host name"),
    (beyond.https_without_its_authorities, Kind.SETUP, "CA certificates cannot be read", "GIT_SSL_CAINFO"),
    (beyond.https_meets_plain_http, Kind.OTHER, "does not speak TLS", "correct the port"),
    (beyond.https_through_a_proxy_that_refuses, Kind.SETUP, "the proxy refuses to connect us (407)", "HTTPS_PROXY"),
    (
        beyond.https_through_a_proxy_that_is_down,
        Kind.UNREACHABLE,
        "the proxy that HTTPS_PROXY names",
        "start the proxy",
    ),
    (beyond.https_through_an_unknown_proxy, Kind.UNREACHABLE, "Could not resolve proxy", "HTTPS_PROXY"),
    (beyond.https_finds_no_such_host, Kind.UNREACHABLE, "Could not resolve host", ""),
    (beyond.https_finds_a_closed_port, Kind.UNREACHABLE, "connect", ""),
    (beyond.https_leads_to_plain_http, Kind.NO_ACCESS, "not encrypted (http://)", "the https address"),
    (beyond.https_leads_in_a_circle, Kind.UNREACHABLE, "redirects followed", ""),
    (beyond.https_shows_a_web_page, Kind.NO_ACCESS, "a web page and no git repository", "correct git.url"),
    (beyond.https_answers_garbage, Kind.OTHER, "does not speak git's protocol", "correct git.url"),
    (beyond.https_ends_in_the_middle, Kind.UNREACHABLE, "RPC failed", ""),
    (here.user_settings_make_ssh_of_https, Kind.NO_ACCESS, "your git settings make ssh://git@127", "remove that rule"),
    (here.user_settings_with_a_token, Kind.UNREACHABLE, "your git settings make https://127", "remove that rule"),
    (here.user_settings_are_broken, Kind.SETUP, "bad config line 1 in file", "correct that file"),
    (here.git_is_not_installed, Kind.SETUP, "git: it is not on PATH", "install git"),
    (here.git_is_too_old, Kind.SETUP, "does not know the option not-yet-known", "install git 2.32"),
    (here.git_may_open_no_more_files, Kind.OTHER, "Too many open files", "ulimit"),
    (here.git_may_write_no_large_file, Kind.SETUP, "limit on the size of files", "raise it"),
    (here.path_is_not_there, Kind.NO_ACCESS, "nothing is there", "correct git.url"),
    (here.path_is_no_repository, Kind.NO_ACCESS, "does not appear to be a git repository", "correct git.url"),
    (here.path_is_a_file, Kind.NO_ACCESS, "invalid gitfile format", "correct git.url"),
    (here.path_may_not_be_read, Kind.NO_ACCESS, "this user may not read it", "let this user read"),
    (here.repository_of_somebody_else, Kind.NO_ACCESS, "belongs to another user", "--add safe.directory '"),
    (here.source_with_empty_objects, Kind.DAMAGED, "is empty", "git fsck"),
    (here.source_without_a_file, Kind.DAMAGED, "cannot clone", "git fsck"),
    (here.source_without_a_commit, Kind.DAMAGED, "not our ref", "git fsck"),
    (here.source_with_half_a_pack, Kind.DAMAGED, "does not match index", "git fsck"),
    (here.source_with_broken_settings, Kind.SETUP, "bad config line", "correct that file"),
    (here.source_of_a_newer_git, Kind.SETUP, "unknown repository extension", "install it here"),
    (here.commit_that_is_not_there, Kind.NO_SUCH_REF, "ddddddd", "set git.ref"),
    (here.branch_that_is_not_there, Kind.NO_SUCH_REF, "no such branch or tag", "set git.ref"),
    (here.name_too_long, Kind.CHECKOUT, "File name too long", ""),
    (here.name_that_git_refuses, Kind.CHECKOUT, "invalid path '.git'", ""),
    (here.files_cannot_be_written, Kind.CHECKOUT, "unable to write file big", ""),
    (here.files_have_no_room, Kind.DISK_FULL, "MB are free there", "make room"),
    (here.lfs_is_not_installed, Kind.CHECKOUT, "git-lfs is not on the manager's PATH", "install git-lfs"),
    (here.lfs_process_is_not_installed, Kind.CHECKOUT, "git-lfs is not on the manager's PATH", "install git-lfs"),
    (here.lfs_object_is_missing, Kind.CHECKOUT, "filter lfs failed for x.bin: Error downloading object", "Object does"),
    (here.lfs_quota_is_used_up, Kind.CHECKOUT, "over its data quota", "make this filter work"),
    (here.lfs_shows_a_signed_address, Kind.CHECKOUT, "https://store.example/x?[...]", "filter"),
    (here.lfs_finds_no_room, Kind.DISK_FULL, "No space left on device", ""),
    (here.filter_fails_silently, Kind.CHECKOUT, "filter lfs failed for x.bin", "make this filter work"),
    (here.clone_with_changed_files, Kind.DIRTY, "would be overwritten by checkout (a)", "commit, push or remove"),
    (here.clone_that_is_locked, Kind.OTHER, "another git works there", "remove that file if no git runs"),
    (here.clone_in_the_middle_of_a_merge, Kind.DIRTY, "while merging", "commit, push or remove"),
    (here.clone_with_a_broken_index, Kind.OTHER, "index file corrupt", "git reset"),
    (here.clone_with_that_branch_elsewhere, Kind.DIRTY, "dev is checked out in another worktree", "another branch"),
    (here.clone_with_a_branch_in_the_way, Kind.DIRTY, "refs/heads/dev/x is in the way", "rename or delete"),
    (here.clone_with_a_remote_branch_in_the_way, Kind.DIRTY, "origin/dev/x is in the way", "git remote prune"),
    (here.clone_with_broken_settings, Kind.SETUP, "bad config line", "correct that file"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
async def test_a_failure_is_said_by_its_cause(
    scene: Scene, case: tuple[Callable[[Scene], Awaitable[GitProblem]], Kind, str, str]
) -> None:
    """Not by the last line of git, and not as a fault of the network when it is none."""
    make, kind, *words = case
    url = "https://127.0.0.1/x" if "https" in make.__name__ else "ssh://host/x" if "ssh" in make.__name__ else "/x"

    said(scene, await make(scene), url, kind, tuple(words))
