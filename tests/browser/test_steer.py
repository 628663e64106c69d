"""What if a component were taken out: a steered prediction, its strengths, and the address that keeps it."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from contracts.governance import Role
from tests.browser.conftest import UNHURRIED, natural_width, somebody
from tests.browser.test_sessions import begin

pytestmark = pytest.mark.browser
AT = "/steer?model=lite0&dataset=demo&sample=7&layer=conv_head"


def rows(page):
    return page.get_by_role("table", name="Probabilities before and after").get_by_role("row")


def test_components_behind_a_prediction_are_taken_out_and_the_answer_is_that_of_rest(visitor, served):
    page = visitor
    page.goto("/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=conv_head")
    page.get_by_role("link", name="Steer the strongest").click()
    expect(page).to_have_url(re.compile(r"/steer\?model=m_\w+&dataset=\w+&sample=7&target=\d+&layer=conv_head&unit="))
    units = page.get_by_role("list", name="Components that are changed").get_by_role("listitem")
    expect(units).to_have_count(3)
    expect(rows(page)).to_have_count(9, timeout=4 * UNHURRIED)
    asked = {
        "sample": {"dataset": "demo", "index": 7}, "top": 8,
        "interventions": [
            {"target": {"kind": "component", "layer": "conv_head", "index": int(text)}, "change": "ablate"}
            for text in units.get_by_role("link").all_text_contents()
        ],
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {served.token()}"}
    due = httpx.post(f"{served.url}/v1/models/lite0/steering-preview", json=asked, headers=headers, timeout=60).json()
    first = due["changes"][0]
    expect(rows(page).nth(1)).to_contain_text(first["name"])
    shown = page.get_by_role("status").first.text_content()
    assert (" becomes " in shown) == due["flipped"]
    expect(page.get_by_role("img", name=re.compile("^Take out: what strengths do"))).to_be_visible(
        timeout=4 * UNHURRIED
    )


def test_another_way_and_strength_are_kept_in_the_address_and_come_back_with_it(visitor):
    page = visitor
    page.goto(AT)
    expect(page.get_by_text("Nothing is changed yet")).to_be_visible()
    page.get_by_role("list", name="Components behind the prediction").get_by_role("button").first.click()
    expect(rows(page)).to_have_count(9, timeout=4 * UNHURRIED)
    page.get_by_label("What happens to them").select_option("add")
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"change=add&strength=1\.8"))
    page.keyboard.press("ArrowRight")  # the slider has the focus still
    expect(page).to_have_url(re.compile(r"change=add&strength=2$"))
    page.get_by_label("Heat maps before and after").check()
    maps = page.get_by_role("list", name="gradcam").get_by_role("img")
    expect(maps).to_have_count(2, timeout=4 * UNHURRIED)
    assert [natural_width(each) for each in maps.all()] == [224, 224]
    told = page.get_by_role("status").first.text_content()
    page.reload()
    expect(page.get_by_role("status").first).to_have_text(told, timeout=4 * UNHURRIED)
    expect(page.get_by_role("slider")).to_have_value("2")


def test_two_changes_in_one_breath_are_both_kept_and_shown_at_once(visitor):
    page = visitor
    page.goto(f"{AT}&unit=3")
    expect(rows(page)).to_have_count(9, timeout=4 * UNHURRIED)
    page.get_by_role("list", name="Components behind the prediction").get_by_role("button").first.wait_for()
    shown = page.evaluate("""async () => {
        const click = (selector) => document.querySelector(selector).click();
        click("[aria-label='Components behind the prediction'] button");
        click("aside input[type=checkbox]");
        await null;
        return document.querySelector("aside input[type=checkbox]").checked;
    }""")
    assert shown
    expect(page).to_have_url(re.compile(r"unit=3&unit=\d+.*&maps="))


def test_components_are_found_by_what_they_respond_to(visitor):
    page = visitor
    page.goto(AT)
    page.get_by_label("Components that respond to").fill("a cat")
    page.get_by_role("button", name="Find").click()
    found = page.get_by_role("list", name="Components that respond to the text").get_by_role("button")
    expect(found).to_have_count(8)
    found.first.click()
    expect(page).to_have_url(re.compile(r"unit=\d+"))
    page.get_by_role("button", name=re.compile("^Leave component")).click()
    expect(page.get_by_text("Nothing is changed yet")).to_be_visible()


def test_what_cannot_be_steered_is_refused_where_the_answer_would_be(visitor, refusals):
    page = visitor
    refusals.extend([422] * 2)
    page.goto(f"{AT}&unit=99999")
    expect(page.get_by_role("alert").first).to_contain_text("99999")


def test_a_steering_is_kept_in_the_analysis_session(visitor, rest):
    page = visitor
    session = begin(page, "what if")
    page.goto(f"{AT}&unit=3")
    page.get_by_role("button", name="Keep in the session").click(timeout=4 * UNHURRIED)
    expect(page.get_by_role("button", name="Kept in the session")).to_be_disabled()
    held = []
    page.route("**/steering-preview", lambda route: held.append(route))
    page.get_by_label("What happens to them").select_option("scale")
    expect(page.locator(".stale")).to_be_visible()  # figures of the change before are not kept under the new one
    expect(page.get_by_role("button", name=re.compile("in the session$"))).to_have_count(0)
    for route in held:
        route.continue_()
    page.unroute("**/steering-preview")
    expect(page.get_by_role("button", name="Keep in the session")).to_be_enabled(timeout=4 * UNHURRIED)
    kept = rest.get(f"/sessions/{session}/history", params={"limit": 50}).json()["items"][-1]
    assert kept["action"]["kind"] == "steer" and kept["action"]["request"]["sample"] == {"dataset": "demo", "index": 7}


def test_an_auditor_may_not_steer_and_is_told_so(chromium, served):
    with somebody(chromium, served, "auditing", Role.AUDITOR) as page:
        page.goto("/s/small/c/conv_head/3")
        expect(page.get_by_role("link", name="Search like this")).to_be_visible()
        expect(page.get_by_role("navigation", name="Component").get_by_role("link", name="Steer")).to_have_count(0)
        page.goto(AT)
        expect(page.get_by_text("Not for your role")).to_be_visible()


def test_a_component_leads_to_steering_it(visitor):
    page = visitor
    page.goto("/s/small/c/conv_head/3")
    page.get_by_role("link", name="Steer", exact=True).nth(1).click()
    expect(page).to_have_url(re.compile(r"/steer\?model=m_\w+&layer=conv_head&unit=3$"))
    expect(page.get_by_text("No picture yet")).to_be_visible()
