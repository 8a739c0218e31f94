"""Urls and refs: what git takes is taken, what is dangerous or secret is not, and each refusal says the true reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.git_url import Transport, check_git_url, check_ref, did_you_mean, remote, transport

SSH = [
    ("git@my_host:r.git", "git@my_host", "r.git"),
    ("git@github_work:u/r.git", "git@github_work", "u/r.git"),
    ("_alias:r", "_alias", "r"),
    ("host:path with blanks/r", "host", "path with blanks/r"),
    ("[::1]:r.git", "::1", "r.git"),
    ("git@[fe80::1]:r.git", "git@fe80::1", "r.git"),
    ("git@host:2222/u/r", "git@host", "2222/u/r"),
    ("git@ssh.dev.azure.com:v3/org/My%20Project/r", "git@ssh.dev.azure.com", "v3/org/My%20Project/r"),
    ("ann@example.org@host:r.git", "ann@example.org@host", "r.git"),
    ("ssh://git@[::1]:2222/r.git", "git@::1", "/r.git"),
    ("ssh://git@my_host/r.git", "git@my_host", "/r.git"),
    ("ssh://org-1+x@github.com/~u/r.git", "org-1+x@github.com", "~u/r.git"),
    ("ssh://host/a b", "host", "/a b"),
    ("git@host::r", "git@host", ":r"),
    ("git@münchen.example:r", "git@münchen.example", "r"),
]
HTTPS = [
    "https://org@dev.azure.com/org/project/_git/r",
    "https://ann@example.org/r.git",
    "https://[::1]:8443/r.git",
    "https://my_host/r",
    "https://example.org/a%20b/r.git?x=1",
]
LOCAL = ["/srv/my code/r", "../a b", "./C:x", "~/code", "a/b:c", "/a::b", "x", "ünï", "a'b", "u/r", "./github.com/u/r"]
REFS = [
    *(
        "main",
        "#8982-bugfix",
        "feat/ünï",
        "fix(core)",
        "feature/a&b",
        "a,b",
        "user's-branch",
        "a+b",
        "v1.2=x",
        "a@b",
    ),
    *("refs/pull/7/head", "renovate/node-20.x", "日本", "a%b", "a!b", '"q"', "a;b", "$x", "deadbeef", "a" * 200),
]


@pytest.mark.parametrize(("url", "where"), [row[:2] for row in SSH])
def test_the_parts_of_an_ssh_url_are_found(url: str, where: str) -> None:
    """User and host, in both ways of writing one."""
    assert check_git_url(url) == url
    assert transport(url) is Transport.SSH
    assert (found := remote(url)) is not None
    assert f"{found.user}@{found.host}".removeprefix("@") == where


@pytest.mark.parametrize(("urls", "kind"), [(HTTPS, Transport.HTTPS), (LOCAL, Transport.LOCAL)])
def test_https_urls_and_local_paths_are_taken_as_they_are(urls: list[str], kind: Transport) -> None:
    """User names, addresses, blanks, letters of any language."""
    assert [(check_git_url(url), transport(url)) for url in urls] == [(url, kind) for url in urls]


PIECES = [
    "ssh://",
    "https://",
    "git@",
    "-",
    "-oProxyCommand=x",
    "host",
    "::1",
    "[",
    "]",
    ":",
    "/",
    "@",
    "::",
    ".",
    "~",
    "ext",
    " ",
    "$(x)",
    ";",
    "%2d",
]


@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
def test_nothing_that_is_taken_begins_with_a_dash_where_ssh_reads_it(url: str) -> None:
    """Neither the host nor the user, and no shell reads what it could act upon; no helper is named."""
    try:
        taken = check_git_url(url)
    except ValueError:
        return
    found = remote(taken)

    assert not taken.startswith("-")
    assert (found is None) == (transport(taken) is Transport.LOCAL)
    assert found is None or not (found.host + found.user + found.path).startswith("-")
    assert found is None or not {found.user[:1], found.path[:1]} & {"-"}
    assert found is None or not set("$;() ") & set(found.host + found.user)
    assert not taken.startswith(("ext::", "host::", "git::", "::"))


def test_a_scheme_we_do_not_know_is_never_taken_for_ssh() -> None:
    """The colon after a scheme is none before a path."""
    assert transport("ftp://host/x") is Transport.LOCAL


def test_blanks_around_are_nobodys_intent() -> None:
    """As they come with a copied line."""
    assert check_git_url(" git@host:r.git \n") == "git@host:r.git"
    assert check_ref("main ") == "main"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\x1b[2J", "control characters"),
        ("a\nb", "control characters"),
        ("-oProxyCommand=x:y", "begins with a dash"),
        ("--upload-pack=x", "begins with a dash"),
        ("ext::sh -c x", "helper transport"),
        ("fd::1", "helper transport"),
        ("::x", "helper transport"),
        ("host::x", "helper transport"),
        ("ssh://-oProxyCommand=x/y", "cannot read it"),
        ("ssh://git@-x/y", "cannot read it"),
        ("git@-x:y", "cannot read it"),
        ("git@ho$(x)st:y", "cannot read it"),
        ("git@host;x:y", "cannot read it"),
        ("git@host:-x", "path begins with a dash"),
        ("ssh://host/-x", "path begins with a dash"),
        ("git@host:", "without a path"),
        ("https://host", "cannot read it"),
        ("ssh://host:99999/x", "from 1 to 65535"),
        ("https://me:HUSH@host/x", "with a password"),
        ("https://me%3AHUSH@host/x", "with a password"),
        ("https://:HUSH@host/x", "with a password"),
        ("ssh://me:HUSH@host/x", "with a password"),
        ("me:HUSH@host:x", "with a password"),
        ("https://ghp_HUSH0123456789@github.com/x", "with a token"),
        ("https://glpat-HUSH@gitlab.com/x", "with a token"),
        ("https://HUSH0123456789abcdef0123456789abcdef01@host/x", "with a token"),
        ("https://host/a b", "%20"),
        ("http://host/x", "not encrypted; use https"),
        ("git://host/x", "not encrypted"),
        ("file:///srv/x", "write the path itself"),
        ("git+ssh://host/x", "write ssh://"),
        ("SSH://host/x", "write ssh:// in small letters"),
        ("ftp://host/x", "use ssh, https or a local path"),
        ("[host:22]:x", "write ssh://host:22/x"),
        ("C:\\code\\app", "did you mean /mnt/c/code/app?"),
        ("C:/code/app", "did you mean /mnt/c/code/app?"),
        ("github.com/u/r", "did you mean https://github.com/u/r or git@github.com:u/r?"),
        ("GitLab.com/u/r", "did you mean https://GitLab.com/u/r"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_true_reason(url: str, why: str) -> None:
    """And never with a secret in it."""
    with pytest.raises(ValueError, match=r"^cannot ") as caught:
        check_git_url(url)

    assert why in str(caught.value)
    assert "HUSH" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("u/r", "did you mean https://github.com/u/r or git@github.com:u/r?"),
        ("git.example.org/u/r", "did you mean https://git.example.org/u/r or git@git.example.org:u/r?"),
        ("git@host:2222/u/r", "did you mean ssh://git@host:2222/u/r?"),
        ("git@host:u/r", ""),
        ("/srv/x", ""),
        ("../x", ""),
        ("https://host/x", ""),
        ("a/b c", ""),
    ],
)
def test_what_was_probably_meant(url: str, hint: str) -> None:
    """For urls that are right in form, and do not work."""
    assert did_you_mean(check_git_url(url)) == hint


@pytest.mark.parametrize("ref", REFS)
def test_every_name_git_takes_for_a_branch_is_a_ref(ref: str) -> None:
    """Each is given to git as it is."""
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("", "empty"),
        ("-b", "option"),
        ("--orphan=x", "option"),
        ("refs/heads/-b", "option"),
        ("main; touch x", "no blank"),
        ("a..b", ".."),
        ("@{u}", "@{"),
        ("@", "@ alone"),
        ("a~1", "no ~"),
        ("a:b", "no :"),
        ("a\\b", "no \\"),
        ("/a", "slash"),
        ("a//b", "slash"),
        (".a", "dot"),
        ("a.lock/b", ".lock"),
        ("a.", "dot"),
        ("a\x07b", "printed"),
        ("ü" * 126, "too long"),
    ],
)
def test_a_ref_is_refused_with_the_rule_it_breaks(ref: str, why: str) -> None:
    """Not with "give a branch" for what is one."""
    with pytest.raises(ValueError, match=r"^cannot use it as a git ref: ") as caught:
        check_ref(ref)

    assert why in str(caught.value)
