"""Labels of a component beside their evidence, and which scorer does best."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def shown(value: float) -> str:
    """A figure as the pages write it."""
    text = f"{value:.2f}"
    return (text.replace("-", "") if float(text) == 0 else text).replace("-", "−")


def test_a_layer_without_labels_teaches_how_to_get_them(visitor, labelled):
    page = visitor
    page.goto("/s/small/c/conv_head/3")
    panel = page.get_by_role("region", name="Labels")
    expect(panel.get_by_text("xsys label build small --layer conv_head")).to_be_visible()
    expect(panel.get_by_role("button", name="Label conv_head")).to_be_enabled()


def test_a_component_shows_what_every_scorer_calls_it_and_how_far_that_holds(visitor, labelled, rest):
    page = visitor
    page.goto("/s/small/c/blocks.5/7")
    told = rest.get("/snapshots/small/labels/components/blocks.5/7", params={"labels": labelled}).json()
    rows = page.get_by_role("region", name="Labels").locator("tbody tr")
    expect(rows).to_have_count(2)
    for row, scorer in zip(rows.all(), told["scorers"], strict=True):
        held_out = scorer["evaluation"]
        first, second = scorer["labels"][:2]
        expect(row).to_contain_text(first["text"])
        expect(row).to_contain_text(shown(first["score"]))
        expect(row).to_contain_text(f"{second['text']} −{shown(scorer['margin'])}")
        expect(row).to_contain_text(
            f"{shown(held_out['correlation'])} ({shown(held_out['low'])} to {shown(held_out['high'])})"
        )
        expect(row).to_contain_text(scorer["status"].replace("_", " "))


def test_the_leaderboard_ranks_scorers_and_shows_the_controls(visitor, labelled, rest):
    page = visitor
    page.goto("/s/small")
    page.get_by_role("navigation", name="Views of the snapshot").get_by_role("link", name="Labels").click()
    [board] = rest.get("/snapshots/small/labels/leaderboard", params={"labels": labelled}).json()["layers"]
    page.goto(f"/s/small/labels?labels={labelled}")
    rows = page.get_by_role("region", name="Leaderboard of blocks.5").locator("tbody tr")
    expect(rows).to_have_count(len(board["rows"]))
    names = [row.get_by_role("rowheader").text_content() for row in rows.all()]
    assert names == [
        f"{row['scorer'].replace('_', ' ')} {'control' if row['control'] else ''}" for row in board["rows"]
    ]
    expect(rows.first).to_contain_text(shown(board["rows"][0]["correlation"]["value"]))
