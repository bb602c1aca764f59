"""A real Chromium, headless, which notes every request that would leave this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HERE = {None, "", "127.0.0.1", "localhost"}


@contextmanager
def page(dark: bool = False, bypass_csp: bool = True) -> Iterator[Any]:
    """An empty page; on leaving, no request may have gone elsewhere, and no script may have failed.

    Args:
        dark: whether the person prefers dark pages.
        bypass_csp: let the test run scripts of its own in pages whose policy forbids scripts.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=OPTIONS)
        opened = browser.new_page(
            viewport={"width": 1400, "height": 900}, color_scheme="dark" if dark else "light", bypass_csp=bypass_csp
        )
        elsewhere: list[str] = []
        errors: list[str] = []

        def hear(request: Any) -> None:
            if not request.url.startswith("data:") and urlsplit(request.url).hostname not in HERE:
                elsewhere.append(request.url)

        opened.on("request", hear)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        browser.close()
    assert not elsewhere, f"requests that leave this machine: {elsewhere}"
    assert not errors, f"scripts failed: {errors}"
