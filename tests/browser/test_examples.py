"""Examples of a component: whole or cut to what it saw, by activation or by relevance."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED, finished

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def relevant(rest) -> str:
    """A snapshot of one layer that has both kinds of examples."""
    small = rest.get("/snapshots/small").raise_for_status().json()
    layer = small["layers"][-2]["name"]
    body = {"model": small["model"]["id"], "dataset": small["dataset"]["id"], "layers": [layer], "k": 10}
    body |= {"encoder": small["encoder"]["name"], "name": "relevant", "relevance": "epsilon"}
    finished(rest, rest.post("/snapshots", json=body))
    return layer


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


def test_examples_by_relevance_stand_beside(visitor, relevant, rest):
    page = visitor
    found = rest.get(f"/snapshots/relevant/components/{relevant}/0").raise_for_status().json()
    assert len(found["others"]) == 10
    page.goto(f"/s/relevant/c/{relevant}/0")
    page.get_by_label("Ranked by").select_option(label="how much predictions rest on it")
    examples = page.get_by_role("list", name="Most relevant examples")
    expect(examples.get_by_role("listitem")).to_have_count(10)
    expect(page.get_by_text("by epsilon.")).to_be_visible()
    examples.get_by_role("button").first.click()
    large = page.get_by_role("dialog", name="Picture")
    expect(large).to_contain_text(f"sample {found['others'][0]['sample']}")
    expect(large).to_contain_text("relevance")
