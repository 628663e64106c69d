"""The guided tour along the newest snapshot."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED
from tests.browser.test_every_page import faults_of, settled

pytestmark = pytest.mark.browser
STOPS = [
    ("Snapshots", r"/$"), ("Search by meaning", r"/s/[^/]+$"), ("One component", r"/c/[^/]+/0$"), ("The map", r"/map"),
    ("Why this prediction?", r"/predict\?"), ("What if?", r"/steer\?"), ("Audits", r"/audits$"),
    ("Analysis sessions", r"/sessions$"),
]  # fmt: skip


def card(page, number: int):
    return page.get_by_role("region", name=re.compile(f"^Tour, {number} of {len(STOPS)}"))


def test_the_tour_leads_from_page_to_page_and_points_at_what_it_tells_of(visitor):
    page = visitor
    page.goto("/")
    page.get_by_role("button", name="Take the tour").click()
    for number, (title, path) in enumerate(STOPS, start=1):
        shown = card(page, number)
        expect(shown.get_by_role("heading", name=title)).to_be_visible(timeout=UNHURRIED)
        expect(shown).to_be_focused()
        expect(page).to_have_url(re.compile(path))
        expect(page.locator(".toured")).to_have_count(1, timeout=4 * UNHURRIED)
        if number == 1:
            settled(page, "Snapshots")
            assert faults_of(page) == []
        shown.get_by_role("button", name=re.compile("^(Next|Finish)$")).click()
    expect(page.locator(".tour")).to_have_count(0)
    expect(page.locator(".toured")).to_have_count(0)


def test_it_outlives_a_reload_goes_back_and_ends_by_escape(visitor):
    page = visitor
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard").get_by_role("button", name="Take the tour").click()
    card(page, 1).get_by_role("button", name="Next").click()
    expect(card(page, 2)).to_be_visible()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Models").click()
    expect(page).to_have_url(re.compile("/models$"))  # who looks elsewhere is not fetched back
    expect(card(page, 2)).to_be_visible()
    page.reload()
    expect(card(page, 2)).to_be_visible()
    card(page, 2).get_by_role("button", name="Back").click()
    expect(card(page, 1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".tour")).to_have_count(0)
