"""Debian's browser on the real server, watched for faults."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
UNHURRIED = 20_000  # milliseconds; the first search loads the encoder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's browser; nothing is downloaded."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, served) -> Iterator[Page]:
    """A fresh browser profile that fails the test for script errors, broken policies and foreign hosts."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(UNHURRIED)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda asked: None if is_own(asked.url, served.url) else faults.append(f"foreign: {asked.url}"))
    yield page
    context.close()
    assert faults == []


def is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:", "blob:"))


@pytest.fixture
def logged_in(page, served) -> Page:
    """The list of snapshots, right after a one-time link."""
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible(timeout=UNHURRIED)
    return page
