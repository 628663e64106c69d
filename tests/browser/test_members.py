"""An invitation accepted, a member locked out and let in again, and the log of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import watched

pytestmark = pytest.mark.browser
PASSWORD = "correct horse battery"


def test_a_person_is_invited_locked_out_and_let_in_again(chromium, served, visitor):
    admin = visitor
    admin.goto("/members")
    admin.get_by_role("combobox", name="Role", exact=True).select_option("analyst")
    admin.get_by_role("button", name="Invite").click()
    link = admin.locator("pre.command").text_content()
    assert re.fullmatch(rf"{re.escape(served.url)}/invite#\S+", link)

    admin.get_by_role("button", name="Invite").click()
    taken_back = admin.locator("pre.command")
    expect(taken_back).not_to_have_text(link)
    opened = admin.get_by_role("region", name="Open invitations").get_by_role("listitem")
    expect(opened).to_have_count(2)
    opened.first.get_by_role("button", name="Take back").click()
    expect(opened).to_have_count(1)

    context = chromium.new_context(viewport={"width": 1280, "height": 900}, base_url=served.url)
    person, faults = watched(context, served, [401])
    person.goto(link)
    expect(person).to_have_url(f"{served.url}/invite")  # the secret is gone from the address
    person.get_by_label("Your name").fill("lovelace")
    person.get_by_label(re.compile("^Password")).fill(PASSWORD)
    person.get_by_role("button", name="Join").click()
    expect(person.get_by_role("heading", name="Snapshots", level=1)).to_be_visible()
    expect(person.get_by_role("link", name="Members")).to_have_count(0)
    person.goto("/members")
    expect(person.get_by_text("Only admins manage members.")).to_be_visible()

    admin.reload()
    row = admin.get_by_role("row", name=re.compile("^lovelace"))
    expect(row).to_contain_text("active")
    row.get_by_role("button", name="Disable lovelace").click()
    expect(row).to_contain_text("disabled")
    person.goto("/jobs")
    expect(person).to_have_url(f"{served.url}/login")
    log_in(person, PASSWORD)
    expect(person.get_by_role("alert")).to_contain_text("Check name and password")

    row.get_by_role("button", name="Enable lovelace").click()
    expect(row).to_contain_text("active")
    row.get_by_role("button", name="New password for lovelace").click()
    reset = admin.locator("pre.command")
    expect(reset).to_contain_text("/reset#")
    person.goto(reset.text_content())
    person.get_by_label(re.compile("^Password")).fill(PASSWORD[::-1])
    person.get_by_role("button", name="Log in with it").click()
    expect(person.get_by_role("button", name="Log out")).to_be_visible()
    person.get_by_role("button", name="Log out").click()
    log_in(person, PASSWORD[::-1])
    expect(person.get_by_role("button", name="Log out")).to_be_visible()
    context.close()
    assert faults == []

    admin.reload()
    log = admin.get_by_role("region", name="Audit log")
    expect(log.get_by_role("row", name=re.compile("lovelace")).first).to_be_visible()
    log.get_by_role("button", name="Verify").click()
    expect(log.get_by_role("status")).to_contain_text("entries, as they were written")


def log_in(page, password: str) -> None:
    page.get_by_label("Name").fill("lovelace")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def test_what_the_workspace_uses_is_shown(visitor, rest):
    page = visitor
    page.goto("/members")
    used = page.get_by_role("region", name="What this workspace uses")
    due = rest.get("/usage").json()
    assert due["bytes"] > 0 and due["byte_limit"] is None
    expect(used).to_contain_text("no limit")
    rows = used.get_by_role("table", name="Kinds of results by size").get_by_role("row")
    expect(rows).to_have_count(len(due["largest"]) + 1)
    expect(rows.nth(1)).to_contain_text(due["largest"][0]["kind"].partition("/")[0])
