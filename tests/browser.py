"""A real browser without a window, for tests of pages; they are skipped where there is none.

With `DFC_REQUIRE_CHROMIUM` set, as `.ci/run` does on a CI machine, a missing browser is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Tests run as root in containers, which a sandbox refuses; parallel coordinates are drawn by a GPU, or in its place.
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
PATIENCE_MS = 60_000  # of a machine that does other things


def found() -> str:
    """The browser's path; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("chromium is not installed (apt-get install chromium)")
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        missing("playwright is not installed")
    return path or ""


def missing(what: str) -> None:
    if os.environ.get("DFC_REQUIRE_CHROMIUM"):
        pytest.fail(what)
    pytest.skip(what)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser."""
    path = found()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Seen:
    """A page that is open, with everything that it complains of and asks a network for."""

    def __init__(self, browser: Any, path: Path, width: int = 1400) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.metrics = self.page.context.new_cdp_session(self.page)
        self.metrics.send("Performance.enable")
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def drawn(self) -> Seen:
        """When all figures are."""
        self.page.wait_for_selector("body[data-ready=all]")
        return self

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(code)

    def cpu_s(self) -> float:
        """Seconds that the page's main thread has worked: parsing, scripts, styles, layout."""
        found = self.metrics.send("Performance.getMetrics")["metrics"]
        return float(next(x["value"] for x in found if x["name"] == "ThreadTime"))
