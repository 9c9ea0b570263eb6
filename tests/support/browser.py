"""The system's Chromium, driven by Playwright; tests that need it are skipped, with a notice, where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Where pictures for the documentation go; without it none are taken.
PICTURES_VARIABLE = "EDGEWRIGHT_PICTURES"
WIDTH_PX, HEIGHT_PX = 1400, 1000


def find_chromium() -> str:
    """The browser; skips the test where none is installed."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser is installed here; on Debian: apt-get install chromium")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """One page of a browser of its own."""
    chromium = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a sandbox: inside a container there is none to have, and only our own loopback pages are opened.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
            page.set_default_timeout(30_000)
            yield page
        finally:
            browser.close()


def take_picture(page: Any, name: str) -> None:
    """Keeps what the page shows for the documentation, where that was asked for."""
    folder = os.environ.get(PICTURES_VARIABLE)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
