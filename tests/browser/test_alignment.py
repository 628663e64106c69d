"""What two layers share, concept by concept."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import natural_width
from tests.browser.test_labels import shown

pytestmark = pytest.mark.browser


def test_a_comparison_leads_from_the_list_to_matched_concepts_with_their_pictures(visitor, aligned, rest):
    page = visitor
    page.goto("/")
    page.get_by_role("link", name="Alignment").click()
    page.get_by_role("link", name="aligned").click()
    pair = rest.get(f"/comparisons/{aligned}/pairs/0/1").json()
    cell = page.get_by_role("button", name=f"blocks.5 and conv_head: {shown(pair['alignment']['aci'])}")
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("img", name="Map of 12 concepts of blocks.5")).to_be_visible()
    rows = page.get_by_role("table", name="Matched concepts, best first").locator("tbody tr")
    expect(rows).to_have_count(len(pair["matches"]))
    best = pair["matches"][0]
    expect(rows.first).to_contain_text(best["relation"])
    expect(rows.first.locator(".concept b")).to_have_text([str(best["ours"]), str(best["theirs"])])
    expect(rows.first.locator("td").nth(3)).to_have_text(shown(best["kappa"]))
    assert natural_width(rows.first.get_by_role("img").first) > 0


def test_a_chosen_match_is_marked_on_both_maps_and_kept_in_the_address(visitor, aligned, rest):
    page = visitor
    best = rest.get(f"/comparisons/{aligned}/pairs/0/1").json()["matches"][0]
    page.goto(f"/alignment/{aligned}")
    rows = page.get_by_role("table", name="Matched concepts, best first").locator("tbody tr")
    rows.first.get_by_role("button").click()
    expect(page.locator("circle.marked")).to_have_count(2)
    assert page.url.endswith(f"/alignment/{aligned}?match={best['ours']}-{best['theirs']}")
    page.reload()
    expect(page.locator("circle.marked")).to_have_count(2)
    page.get_by_role("group", name="Show matches that are").get_by_role("button", name=best["relation"]).click()
    expect(rows.first.get_by_role("button")).to_contain_text(best["relation"])
    assert set(rows.locator("td:first-child button").all_text_contents()) == {f" {best['relation']}"}


def test_the_report_is_a_file_with_every_match(visitor, aligned, rest):
    page = visitor
    page.goto(f"/alignment/{aligned}")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Matches as CSV").click()
    lines = saved.value.path().read_text().splitlines()
    assert len(lines) - 1 == len(rest.get(f"/comparisons/{aligned}/pairs/0/1").json()["matches"])
