"""Explain why git failed: from the output of git, ssh, filters and servers to a kind, a sentence and advice.

The last line git prints is rarely the cause ("the remote end hung up" follows when a filter is missing), so each line
is compared with the causes in their order, from the most specific to the most general. Most are from real runs
(`tests/regression/test_git_failures.py`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.core import plain_text

if TYPE_CHECKING:
    from reconciler.engines.local.git.subprocesses import Completed

LIMIT: Final = 300
"""Characters of a line of others that are shown."""
_WHOLE: Final = 10_000
"""Characters of a line that are searched for a cause."""
_NAMES: Final = 3
"""Of files in the way that are named."""


class GitProblemKind(StrEnum):
    """What a failure means for the caller."""

    NO_ACCESS = "no-access"
    """Refused, or not there for us: over ssh this waits for the key to be added."""
    HOST_KEY_CHANGED = "host-key-changed"
    HOST_KEY_UNKNOWN = "host-key-unknown"
    UNREACHABLE = "unreachable"
    NO_SUCH_REF = "no-such-ref"
    DIRTY = "dirty"
    """Going on would overwrite or strand work."""
    DISK_FULL = "disk-full"
    CERTIFICATE = "certificate"
    """The server's certificate is not valid, or not for us."""
    SETUP = "setup"
    """Git or ssh on this machine is missing, too old, or set up so that it cannot work."""
    DAMAGED = "damaged"
    """The repository it was read from is not whole."""
    CHECKOUT = "checkout"
    """Everything was transferred, and the files cannot be written: a filter failed, or the file system refuses."""
    OTHER = "other"


class GitProblem(Exception):  # noqa: N818  a state of the world, like its kinds
    """A failure of git: one sentence that begins with "cannot" and holds no secret.

    Args:
        kind: what it means.
        message: the sentence.
        advice: what to do, where that depends on more than the kind.
    """

    def __init__(self, kind: GitProblemKind, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.advice = advice


class _Cause(NamedTuple):
    """How one cause appears in a line that git or ssh prints."""

    kind: GitProblemKind
    sign: str
    """Groups of it fill the braces of the two others."""
    says: str = ""
    """Instead of the line itself."""
    advice: str = ""


_K = GitProblemKind
_CAUSES: Final = (
    _Cause(_K.DISK_FULL, "No space left on device|Disk quota exceeded"),
    _Cause(
        _K.SETUP,
        "File too large$",
        "a limit on the size of files is too low here (ulimit -f)",
        "raise it for the manager",
    ),
    _Cause(
        _K.OTHER,
        "Too many open files|unable to fork|Cannot allocate memory|[Oo]ut of memory|Resource temporarily unavailable",
        advice="this machine, or a limit of the manager (ulimit), has no room for it now; it is tried again",
    ),
    _Cause(
        _K.SETUP,
        "(?:un|not )(?:known|recognized) (?:option|switch) [`'](.+?)'",
        "this git does not know the option {0}",
        "install git 2.32 or newer",
    ),
    _Cause(_K.SETUP, "unable to access '(/.+)': .+", advice="let this user read {0}"),
    _Cause(_K.SETUP, "bad (?:numeric )?config (?:line|value|variable) .*", advice="correct that file"),
    _Cause(
        _K.SETUP,
        "unknown repository extension|Expected git repo version",
        advice="a newer git made that repository: install it here",
    ),
    _Cause(
        _K.SETUP,
        r"(?:^|: )(?:cannot run )?ssh: (?:(?:command )?not found|No such file)",
        "ssh is not on the manager's PATH",
        "install OpenSSH's client, or start the manager with a PATH that has it",
    ),
    _Cause(
        _K.OTHER,
        r"(?:^|: )(git(?:-upload-pack)?): (?:command )?not found|git-upload-pack.*not recognized",
        "the server has no git on its PATH",
        "install git there, or give the url of a git server",
    ),
    _Cause(
        _K.SETUP,
        "transport '(.+?)' not allowed",
        "the transport {0} is not allowed, by your git settings (protocol.*.allow, url.*.insteadOf) or by the manager",
        "allow it there, or write another url into git.url: ssh, https, or a local path",
    ),
    # Host keys.
    _Cause(
        _K.HOST_KEY_UNKNOWN,
        r"No (\S+) host key is known for (\S+)",
        "no host key of {1} is known here, and the settings of ssh on this machine ask for one",
        "add it to a known_hosts file of this machine (ssh-keyscan shows it; compare it first)",
    ),
    _Cause(_K.HOST_KEY_CHANGED, "REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|REVOKED HOST KEY"),
    # Keys that ssh cannot use are said before the refusal that follows from it.
    _Cause(
        _K.SETUP,
        'Load key "(.+)": (.+)',
        "ssh cannot use the key {0} ({1})",
        "name a private key in git.ssh_key that this user alone may read",
    ),
    _Cause(
        _K.SETUP, "no such identity: (.+?): .*", "there is no key {0}", "put it there, or name another in git.ssh_key"
    ),
    # The repository itself.
    _Cause(
        _K.NO_ACCESS,
        r"(?:dubious ownership in repository at |unsafe repository \()'(.+?)'",
        "{0} belongs to another user, so git refuses to read it",
        "trust it as the user who reads it there, with: git config --global --add safe.directory '{0}'",
    ),
    _Cause(
        _K.DAMAGED,
        r"object file .+ is empty|(?:object|file) .+ is corrupt|does not match index|repository corruption"
        r"|unable to read (?:sha1 file of .+|[0-9a-f]{40,64})|bad object [0-9a-f]+|missing (?:blob|tree|commit) object"
        r"|did not send all necessary objects|inflate: data stream error|[Cc]ould not read [0-9a-f]{40,64}"
        r"|packfile .+ (?:is|cannot|far|seems)|missing necessary objects|object corrupt",
    ),
    # Work in the way.
    _Cause(
        _K.DIRTY,
        "would be overwritten|would lose untracked|cannot switch branch while|resolve your current index first"
        "|not possible because you have unmerged",
        advice="commit, push or remove what is in the way",
    ),
    _Cause(
        _K.DIRTY,
        "'(.+)' is already (?:checked out|used by worktree) at '(.+)'",
        "{0} is checked out in another worktree, {1}",
        "remove that worktree, or ask for another branch",
    ),
    _Cause(
        _K.DIRTY,
        "cannot lock ref '(.+?)': '(.+?)' exists",
        "{1} is in the way of {0}",
        "rename or delete the one in the way, in the clone (git branch -m, or git remote prune origin)",
    ),
    _Cause(
        _K.OTHER,
        r"Unable to create '(.+\.lock)': File exists",
        "another git works there, or one was killed and left {0}",
        "it is tried again; remove that file if no git runs there",
    ),
    _Cause(
        _K.OTHER,
        "index file corrupt|index file smaller than expected",
        advice="in the clone, move .git/index away and run: git reset",
    ),
    _Cause(_K.NO_SUCH_REF, "Remote branch .* not found|couldn't find remote ref|not our ref|unadvertised object"),
    # TLS and proxies.
    _Cause(
        _K.SETUP,
        "Problem with the SSL CA cert|certificate verify locations|error (?:reading ca|setting) cert",
        "the file of CA certificates cannot be read",
        "correct GIT_SSL_CAINFO, or http.sslCAInfo in your git settings",
    ),
    _Cause(
        _K.CERTIFICATE,
        "certificate.* does not match (?:target )?host|no alternative certificate subject name.*",
        advice="use the host name that its certificate is for",
    ),
    _Cause(
        _K.CERTIFICATE,
        "certificate verif.* failed|SSL certificate problem|certificate (?:has|is) .*(?:expired|trusted|valid|self)",
        advice="let this machine trust the CA of that server (http.sslCAInfo in your git settings, or GIT_SSL_CAINFO), "
        "or have an expired certificate renewed",
    ),
    _Cause(
        _K.OTHER,
        "TLS packet was received|wrong version number|packet length too long"
        "|packet with illegal or unsupported version|http/1.x request",
        "what answers there does not speak TLS",
        "correct the port in git.url",
    ),
    _Cause(
        _K.SETUP,
        r"(?:CONNECT tunnel failed, response|HTTP code) (40[37])(?: from proxy)?.*",
        "the proxy refuses to connect us ({0})",
        "correct HTTPS_PROXY, or http.proxy in your git settings",
    ),
    _Cause(
        _K.UNREACHABLE,
        "Could not resolve proxy.*",
        advice="correct HTTPS_PROXY, or http.proxy in your git settings",
    ),
    # Servers that have no time for us say so in many ways, some of which contain words of a refusal.
    _Cause(
        _K.UNREACHABLE,
        r"returned error: (?:408|425|429|5\d\d)|too many times|[Rr]ate limit|[Tt]oo many requests"
        "|(?:try again|retry) later|(?:temporarily|currently) (?:unavailable|disabled|offline)|maintenance"
        "|[Ii]nternal (?:API|[Ss]erver|error)|Gitaly.* not available|[Ss]ervice [Uu]navailable",
        advice="it is tried again",
    ),
    # Refusals.
    _Cause(
        _K.NO_ACCESS,
        "marked as read.only|read.only deploy key|not allowed to (?:push|upload)|deploy key.* write access",
        advice="give this deploy key write access where it was added, or add it again with write access",
    ),
    _Cause(
        _K.NO_ACCESS,
        "SAML SSO|single sign.on",
        advice="authorize the key for that organization, or add the project's key to the repository as a deploy key",
    ),
    _Cause(
        _K.NO_ACCESS, "IP allow list|IP address is not permitted", advice="have this machine's address allowed there"
    ),
    _Cause(
        _K.NO_ACCESS,
        'Protocol "(.+?)" not supported or disabled',
        "the server redirects to an address that is not encrypted ({0}://)",
        "write the https address of the repository itself into git.url",
    ),
    _Cause(
        _K.NO_ACCESS,
        "not valid: is this a git repository",
        "what answers there is a web page and no git repository",
        "correct git.url in the spec",
    ),
    _Cause(
        _K.OTHER,
        "protocol error: (bad line length character|unexpected).*|expected flush after|expected service, got",
        "what answers there does not speak git's protocol",
        "correct git.url; over ssh, let the login there print nothing of its own",
    ),
    _Cause(
        _K.SETUP,
        "(?:[Uu]nable to|[Cc]ould not|[Cc]annot|[Ff]ailed to) (?:create|write|mkdir|unlink|rename|remove|chmod|append)"
        ".*: (?:Permission denied|Operation not permitted|Read-only file system|Is a directory)",
        advice="let this user write there",
    ),
    _Cause(
        _K.NO_ACCESS,
        "Permission denied|Too many authentication failures|[Pp]ublic key authentication failed|no mutual signature"
        "|[Rr]epository.* not found|[Pp]roject.* not found|[Aa]ccess (?:is )?denied|[Uu]nauthorized|not authorized"
        "|[Nn]ot permitted|[Ff]orbidden|does not appear to be a git repository|invalid gitfile format"
        "|could not be found|do(?:es)? not exist|do(?:n't| not|es not) have (?:the )?(?:permission|access|rights)"
        "|Authentication failed|could not read (?:Username|Password)|[Ii]nvalid (?:username|credentials)"
        r"|returned error: (?:40[134]|410|451)|password authentication|personal access token"
        "|account (?:is|has been) (?:currently )?(?:not available|blocked|locked|disabled|suspended|deactivated)"
        "|sftp connections only|[Ss]hell access|[Rr]epository '?.*'? is (?:disabled|archived|empty or)",
    ),
    _Cause(
        _K.UNREACHABLE,
        "[Cc]ould not resolve|Name or service not known|Temporary failure in name resolution"
        "|Connection (?:refused|closed|reset|timed out)|timed out|unreachable|No route to host"
        "|kex_exchange_identification|banner (?:exchange|line)|[Ff]ailed to connect|Couldn't connect|recv error"
        "|SSL_read|RPC failed|early EOF|hung up|unexpected disconnect|Broken pipe|not responding|too slow"
        "|transfer closed|redirects followed|Could not read from remote repository",
    ),
)
_NOISE: Final = re.compile(
    r"@{5}|Permanently added|Please make sure you have|and the repository exists|\d+% \(|Cloning into|, done$"
    r"|Could not read from remote repository|unable to read askpass|[Pp]lease (?:commit|move or remove)|Aborting|^hint:"
    r"|Clone succeeded, but checkout|You can inspect what|and retry with|To add an exception|git config --global"
    r"|^Total |Another git process seems|an editor opened|are terminated then|may have crashed|remove the file manually"
    r"|Errors logged to|git lfs logs|^Downloading |fetch-pack: invalid index-pack|unable to checkout working tree"
    r"|^From |^ ! \[|Switched to|Reset branch|set up to track|^Your branch"
    r"|external filter .* failed|some local refs could not"
)
_MISSING: Final = re.compile(
    r"(?:^|: )(?:line )?(?:\d+: )?([^\s:]+): (?:command |inaccessible or )?not found|cannot run (\S+?):"
)
_FILTER: Final = re.compile(r"(?:^|: )(.+): (?:smudge|clean) filter (\S+) failed")


def problem(what: str, result: Completed, otherwise: GitProblemKind = GitProblemKind.OTHER) -> GitProblem:
    """Return why git failed, from its output: "cannot <what>: <the cause>".

    Args:
        what: what was to be done.
        result: how git ended.
        otherwise: the kind of what no cause fits; with CHECKOUT, what a filter prints counts first.
    """
    raw = [line for line in re.split(r"[\r\n]", result.err) if line.strip()]
    lines = [plain(line, _WHOLE) for line in raw]
    if otherwise is GitProblemKind.CHECKOUT and (found := _filter(what, lines)):
        return found
    for cause in _CAUSES:
        for number, line in enumerate(lines):
            if match := re.search(cause.sign, line):
                reason, advice = _words(cause, match, lines, raw[number + 1 :])
                return GitProblem(cause.kind, f"cannot {what}: {_cut(reason)}", _cut(advice))
    useful = [line for line in lines if not _NOISE.search(line)]
    reason = _cut(useful[-1]) if useful else f"git ended with code {result.code}"
    return GitProblem(otherwise, f"cannot {what}: {reason}")


def _words(cause: _Cause, match: re.Match[str], lines: list[str], after: list[str]) -> tuple[str, str]:
    groups = [group or "" for group in match.groups()]
    advice = cause.advice.format(*groups)
    line = match.string
    if cause.kind is GitProblemKind.HOST_KEY_CHANGED:
        return _host_key(lines), advice
    if cause.says:
        return cause.says.format(*groups), advice
    if line.endswith(":"):
        return line.rstrip(":") + _listed(after), advice
    if not _NOISE.search(line):
        return line, advice
    return next(
        (text for text in reversed(lines) if not _NOISE.search(text)), "the remote ended the connection"
    ), advice


def _listed(after: list[str]) -> str:
    """Return the names that git lists below a line, each after a tab."""
    names = []
    for text in after:
        if not text.startswith("\t"):
            break
        names.append(plain(text, 80))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f" ({', '.join(names[:_NAMES])}{more})" if names else ""


def _host_key(lines: list[str]) -> str:
    if any("REVOKED" in line for line in lines):
        return "the server's host key is marked as revoked on this machine; do not trust it before you know why"
    offending = next((m for line in lines if (m := re.search(r"Offending \S+ key in (.+):(\d+)$", line))), None)
    where = f"line {offending[2]} of {offending[1]}" if offending else "its old key from known_hosts"
    return f"the server's host key is not the pinned one; only if you know that it was changed, delete {where}"


def _filter(what: str, lines: list[str]) -> GitProblem | None:
    """Return why a filter (such as git-lfs) could not write a file: in its own words, which precede git's."""
    failed = next((match for line in lines if (match := _FILTER.search(line))), None)
    missing = next((match for line in lines if (match := _MISSING.search(line))), None)
    if missing:
        program = missing[1] or missing[2]
        message = f"cannot {what}: {program} is not on the manager's PATH, and a filter of your git settings needs it"
        advice = f"install {program}, or start the manager with a PATH that has it"
        return GitProblem(GitProblemKind.CHECKOUT, message, advice)
    if failed is None:
        return None
    before = lines[: next(number for number, line in enumerate(lines) if _FILTER.search(line))]
    words = next((f": {line}" for line in reversed(before) if not _NOISE.search(line)), "")
    message = f"cannot {what}: the filter {failed[2]} failed for {_cut(failed[1])}{_cut(words)}"
    kind = GitProblemKind.DISK_FULL if "No space left" in words else GitProblemKind.CHECKOUT
    return GitProblem(kind, message, "make this filter work here")


def plain(text: str, limit: int = LIMIT) -> str:
    """Return one printable line without credentials: what a remote or a file name says must not steer a terminal."""
    line = plain_text.plain(text.strip(), _WHOLE)
    line = re.sub(r"^(?:(?:fatal|error|ERROR|remote|warning): *)+", "", line)
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line)
    return _cut(line, limit).rstrip(" .")


def _cut(text: str, limit: int = LIMIT) -> str:
    """Cut the middle of a long text: the begin says what, the end says why."""
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} ... {text[-limit // 3 :]}"


_SECRETS: Final = (
    (re.compile(r"(?<=https://)[^/\s]*@|(?<=http://)[^/\s]*@|(?<=://)[^/\s]*:[^/\s]*@"), ""),
    # Signed addresses of stores (LFS) are passwords for a while.
    (re.compile(r"(https?://[^\s?'\"]*)\?[^\s'\"]+"), r"\1?[...]"),
    (re.compile(r"(?i)(authorization:? +(?:basic|bearer|token)?) *\S+"), r"\1 [...]"),
    (re.compile(r"\b(?:gh[a-z]_\w{16,}|github_pat_\w{20,}|gl[a-z]{2,6}-[\w-]{16,})"), "[...]"),
)
