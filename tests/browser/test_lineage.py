"""From a component back to weights and pictures."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_every_page import faults_of, settled

pytestmark = pytest.mark.browser


def test_a_component_leads_back_to_its_model_and_its_pictures(visitor, rest):
    page = visitor
    page.goto("/s/small/c/conv_head/3")
    page.get_by_role("link", name="Where this comes from").click()
    expect(page).to_have_url(re.compile(r"/lineage/[0-9a-f]{64}$"))
    settled(page, "Where this comes from")
    key = page.url.rpartition("/")[2]
    due = rest.get(f"/lineage/{key}").json()
    rows = page.get_by_role("table", name="Steps from the result to its origins").get_by_role("row")
    expect(rows).to_have_count(len(due["steps"]) + 1)
    expect(rows.nth(1)).to_contain_text("publish")
    behind = page.get_by_role("region", name="Weights and pictures behind it")
    assert {origin["name"] for origin in due["origins"]} == {"lite0", "demo"}
    expect(behind.get_by_role("link")).to_have_text(["demo", "lite0"])
    graph = page.get_by_role("img", name=re.compile(f"^Graph of {len(due['steps'])} steps"))
    expect(graph.locator("rect")).to_have_count(len(due["steps"]))
    wires = sum(edge["step"] != at for at, step in enumerate(due["steps"]) for edge in step["computed_from"])
    expect(graph.locator("path")).to_have_count(wires)
    assert faults_of(page) == []
    behind.get_by_role("link", name="demo").click()
    expect(page.get_by_role("heading", name="demo", level=1)).to_be_visible()


def test_an_unknown_key_is_refused_with_a_remedy(visitor, refusals):
    page = visitor
    refusals.append(404)
    page.goto("/lineage/" + "0" * 64)
    expect(page.get_by_role("alert")).to_contain_text("as it stands there")
