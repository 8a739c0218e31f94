"""Failures of git beyond the machine: each function makes one, by real git against a real server.

What is expected of them stands in `tests/regression/test_git_failures.py`.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.support.gitfaults import Authority

if TYPE_CHECKING:
    from reconciler.engines.local.git.git import GitProblem
    from tests.support.gitscenes import Scene

SECRET: Final = "HUSH"
"""In every password and token here."""


async def ssh_refuses_the_key(scene: Scene) -> GitProblem:
    scene.options = {"IdentitiesOnly=yes": "PubkeyAuthentication=no"}
    return await scene.reach(scene.base.forge.says("x", ""))


async def ssh_finds_another_host_key(scene: Scene) -> GitProblem:
    other = scene.base.authority.file.parent.joinpath("other.pub")
    shutil.copy(scene.key.with_name("key.pub"), other)
    kind, text, *_ = other.read_text().split()
    (scene.folder / "known_hosts").write_text(f"[127.0.0.1]:{scene.base.forge.port} {kind} {text}\n")
    return await scene.reach(scene.base.forge.says("x", ""))


async def ssh_demands_a_known_host(scene: Scene) -> GitProblem:
    scene.options = {"StrictHostKeyChecking=accept-new": "StrictHostKeyChecking=yes"}
    return await scene.reach(scene.base.forge.says("x", ""))


async def ssh_cannot_read_the_key(scene: Scene) -> GitProblem:
    scene.key = scene.folder / "bad"
    scene.key.write_text("nonsense\n")
    scene.key.chmod(0o600)
    return await scene.reach(scene.base.forge.says("x", ""))


async def ssh_has_no_key(scene: Scene) -> GitProblem:
    scene.key = scene.folder / "none"
    return await scene.reach(scene.base.forge.says("x", ""))


async def ssh_is_not_installed(scene: Scene) -> GitProblem:
    scene.only("git", "sh")
    return await scene.reach("ssh://git@127.0.0.1:1/x")


async def ssh_meets_a_web_server(scene: Scene) -> GitProblem:
    return await scene.reach(f"ssh://git@127.0.0.1:{scene.base.http.port}/x")


async def ssh_meets_a_greeting(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.forge.says("greeting", "", 0, answer="Welcome to this host\n"))


async def ssh_finds_a_closed_port(scene: Scene) -> GitProblem:
    return await scene.reach("ssh://git@127.0.0.1:1/x")


async def ssh_finds_no_such_host(scene: Scene) -> GitProblem:
    return await scene.reach("git@no-such-host.invalid:x")


async def https_by_an_unknown_authority(scene: Scene) -> GitProblem:
    scene.setenv("GIT_SSL_CAINFO", str(Authority(scene.folder / "another").file))
    return await scene.reach(scene.base.https.url("origin.git"))


async def https_with_an_expired_certificate(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.expired.url("origin.git"))


async def https_with_another_host_name(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.other_host.url("origin.git"))


async def https_without_its_authorities(scene: Scene) -> GitProblem:
    scene.setenv("GIT_SSL_CAINFO", str(scene.folder / "nothing.pem"))
    return await scene.reach(scene.base.https.url("origin.git"))


async def https_meets_plain_http(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.http.url("origin.git"))


async def https_through_a_proxy_that_refuses(scene: Scene) -> GitProblem:
    scene.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:{scene.base.http.port}")
    return await scene.reach("https://example.invalid/x")


async def https_through_a_proxy_that_is_down(scene: Scene) -> GitProblem:
    scene.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:1")
    return await scene.reach("https://example.invalid/x")


async def https_through_an_unknown_proxy(scene: Scene) -> GitProblem:
    scene.setenv("HTTPS_PROXY", f"http://me:{SECRET}@no-such-proxy.invalid:1")
    return await scene.reach("https://example.invalid/x")


async def https_finds_no_such_host(scene: Scene) -> GitProblem:
    return await scene.reach(f"https://{SECRET}@no-such-host.invalid/x")


async def https_finds_a_closed_port(scene: Scene) -> GitProblem:
    return await scene.reach("https://127.0.0.1:1/x")


async def https_leads_to_plain_http(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.https.url("plain/x"))


async def https_leads_in_a_circle(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.https.url("loop/x"))


async def https_shows_a_web_page(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.https.url("page/x"))


async def https_answers_garbage(scene: Scene) -> GitProblem:
    return await scene.reach(scene.base.https.url("garbage/x"))


async def https_ends_in_the_middle(scene: Scene) -> GitProblem:
    return await scene.clone(scene.base.https.url("cut/origin.git"))
