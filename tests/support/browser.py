"""A real Chromium for one test, and everything that it sent and received.

Belongs here: finding it, its flags, its network log. Does not belong here: any page.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""Nothing of it leaves this machine."""


@dataclass
class Browser:
    """One tab, and its network log as the browser itself keeps it."""

    page: Page
    sent: list[dict[str, str]] = field(default_factory=list)
    """The headers of every request, with those that pages never see."""
    received: list[dict[str, str]] = field(default_factory=list)
    """The headers of every answer."""
    upgraded: list[int] = field(default_factory=list)
    """The status of every WebSocket."""
    urls: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to keep the log."""
        log = self.page.context.new_cdp_session(self.page)
        log.on("Network.requestWillBeSent", lambda event: self.urls.append(event["request"]["url"]))
        log.on("Network.requestWillBeSentExtraInfo", lambda event: self.sent.append(event["headers"]))
        log.on("Network.responseReceivedExtraInfo", lambda event: self.received.append(event["headers"]))
        log.on("Network.webSocketHandshakeResponseReceived", self._upgraded)
        log.send("Network.enable")

    def _upgraded(self, event: dict[str, Any]) -> None:
        self.upgraded.append(event["response"]["status"])


@contextlib.contextmanager
def a_browser(folder: Path) -> Iterator[Browser]:
    """A browser that knows nothing yet; skips the test where none is installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(folder, executable_path=program, args=FLAGS)
        try:
            browser = Browser(context.pages[0])
            browser.watch()
            yield browser
        finally:
            context.close()
