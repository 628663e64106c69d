"""Every page: nothing that keeps people out, help by keyboard, nothing wider than the window."""

import json
import re
from importlib.resources import files

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
PAGES = {
    "/": "Snapshots",
    "/s/small": "small",
    "/s/small?q=a+cat": "small",
    "/s/small/map?layout=pca": "small",
    "/s/small/labels": "small",
    "/s/small/c/conv_head/3": "conv_head · 3",
    "/predict": "Why this prediction?",
    "/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=conv_head": "Why this prediction?",
    "/steer?model=lite0&dataset=demo&sample=7&layer=conv_head&unit=3&maps=1": "What if it saw something else?",
    "/steer/text": "What if it thought of something else?",
    "/alignment": "Alignment",
    "/atlases": "Atlases",
    "/audits": "Audits",
    "/audits/new?snapshot=small": "New audit",
    "/sessions": "Analysis sessions",
    "/sessions/join": "Join an analysis session",
    "/jobs": "Jobs",
    "/runs": "Training runs, side by side",
    "/runs/new": "Train a model",
    "/runs/new?kind=pruning": "Prune a model",
    "/snapshots/new": "Explain a model",
    "/datasets": "Datasets",
    "/datasets/demo": "demo",
    "/models": "Models",
    "/members": "Members",
    "/nowhere": None,
}
OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}


def settled(page, heading: str | None) -> None:
    """Wait until a page shows its heading and loads nothing more."""
    if heading is not None:
        expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    expect(page.locator(".loading, [aria-busy=true]")).to_have_count(0, timeout=60_000)


def faults_of(page) -> list[str]:
    """What axe finds serious or critical, with the elements it means."""
    found = page.evaluate(f"async () => {{ {AXE}; return await axe.run(document, {json.dumps(OPTIONS)}) }}")
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:160]} ({len(fault['nodes'])})"
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_button_under_the_pointer_can_be_read(visitor, theme):
    page = visitor
    page.goto("/models")
    page.evaluate("theme => localStorage.setItem('xsys-theme', theme)", theme)
    page.reload()
    settled(page, "Models")
    page.get_by_text("Register a model").click()
    page.get_by_role("button", name="Register", exact=True).hover()
    page.wait_for_timeout(300)
    assert faults_of(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_fault_of_accessibility(visitor, theme):
    page = visitor
    page.goto("/")
    page.evaluate("theme => localStorage.setItem('xsys-theme', theme)", theme)
    found = {}
    for address, heading in PAGES.items():
        page.goto(address)
        settled(page, heading)
        found[address] = faults_of(page)
    assert {address: faults for address, faults in found.items() if faults} == {}


def test_no_page_is_wider_than_a_tablet(visitor):
    page = visitor
    page.set_viewport_size({"width": 820, "height": 1180})
    wide = []
    for address, heading in PAGES.items():
        page.goto(address)
        settled(page, heading)
        if page.evaluate("document.documentElement.scrollWidth") > 820:
            wide.append(address)
    assert wide == []


def test_a_question_mark_opens_the_keyboard_help_but_not_while_one_types(visitor):
    page = visitor
    page.goto("/s/small")
    box = page.get_by_role("searchbox", name="Search by text")
    box.fill("what is this")
    box.press("?")
    help_dialog = page.get_by_role("dialog", name="Keyboard")
    expect(help_dialog).to_be_hidden()
    expect(box).to_have_value("what is this?")
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("?")
    expect(help_dialog).to_contain_text("go to the search box")
    page.keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()


def test_a_picture_of_a_dataset_becomes_a_query(visitor):
    page = visitor
    page.goto("/datasets/demo")
    page.get_by_role("region", name="Pictures").get_by_role("button").nth(5).click()
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_role("link", name="Why this prediction?")).to_be_visible()
    dialog.get_by_role("link", name="small").click()
    expect(page).to_have_url(re.compile(r"/s/small\?sample=5$"))
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=60_000)
    expect(page.get_by_role("list", name="Further search terms")).to_contain_text("like picture 5 of the dataset")
