"""Examples of a component: whole, or cut to what it saw by activation or by relevance."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED

pytestmark = pytest.mark.browser


def test_examples_are_cut_to_what_the_component_saw(visitor, rest):
    page = visitor
    layer = rest.get("/snapshots/small").json()["layers"][0]["name"]
    page.goto(f"/s/small/c/{layer}/3")
    examples = page.get_by_role("list", name="Strongest examples")
    expect(examples.get_by_role("listitem")).to_have_count(10)
    for view, told in (
        ("where it is active", "its activation map above 50"),
        ("what it saw, by relevance", "relevance, rule "),
    ):
        page.get_by_label("Show").select_option(label=view)
        expect(page.get_by_text(f"Cut by {told}")).to_be_visible(timeout=UNHURRIED)
        cut = examples.get_by_role("img", name="cut to what the component saw")
        assert cut.count() >= 5
        box = [float(number) for number in cut.first.get_attribute("viewBox").split()]
        assert box[2] > 0 and box[3] > 0
    page.get_by_label("Show").select_option(label="the whole picture")
    expect(examples.get_by_role("img", name="cut to what the component saw")).to_have_count(0)
