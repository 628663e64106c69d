"""The main path in a real browser: log in, search, open a component."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED, natural_width

pytestmark = pytest.mark.browser


def test_logging_in_searching_and_opening_a_component(logged_in):
    page = logged_in
    assert "#" not in page.url  # the secret is gone from the address bar
    page.get_by_role("link", name="small").click()
    expect(page.get_by_role("heading", name="small", level=1)).to_be_visible()

    page.get_by_role("heading", name="small", level=1).click()
    page.keyboard.press("/")
    box = page.get_by_role("searchbox", name="Search by text")
    expect(box).to_be_focused()
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=UNHURRIED)
    assert page.url.endswith("/s/small?q=a+cat")
    assert natural_width(cards.first.get_by_role("img").first) > 0
    scores = [float(re.search(r"score (\S+)$", name)[1].replace("−", "-")) for name in names_of(cards)]
    assert scores == sorted(scores, reverse=True)

    box.press("ArrowDown")
    expect(cards.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    layer, index = re.match(r"(\S+), component (\d+)", names_of(cards)[0]).groups()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{layer} · {index}")
    examples = page.get_by_role("list", name="Strongest examples").get_by_role("listitem")
    expect(examples).to_have_count(10)
    assert natural_width(examples.first.get_by_role("img")) > 0
    expect(page.get_by_role("img", name="Histogram of 110 activations")).to_be_visible()
    expect(page.get_by_role("heading", name="Nearest components")).to_be_visible()

    examples.first.get_by_role("button").click()
    large = page.get_by_role("dialog", name="Picture")
    assert natural_width(large.get_by_role("img")) > 0
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()

    page.go_back()
    expect(box).to_have_value("a cat")
    expect(cards.first).to_be_visible()


def names_of(links) -> list[str]:
    return [link.get_attribute("aria-label") for link in links.all()]


def test_a_search_link_opens_the_same_search_for_a_colleague(visitor, served):
    page = visitor
    page.goto(f"{served.url}/s/small?q=a+rocket&layer=conv_head&min_clarity=0.1")
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=UNHURRIED)
    assert {name.split(",")[0] for name in names_of(cards)} == {"conv_head"}
    expect(page.get_by_role("searchbox", name="Search by text")).to_have_value("a rocket")
    expect(page.get_by_role("checkbox", name="conv_head")).to_be_checked()
    expect(page.get_by_label("Clarity at least")).to_have_value("0.1")


def test_a_picture_can_be_searched_with(visitor, served):
    page = visitor
    page.goto(f"{served.url}/s/small")
    page.get_by_role("heading", name="small", level=1).wait_for()
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": red_picture()}
    )
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=UNHURRIED)
    expect(page.get_by_role("list", name="Further search terms")).to_contain_text("red.png")


def test_a_file_that_is_no_picture_is_refused_with_a_remedy(visitor, served, refusals):
    page = visitor
    refusals.append(422)
    page.goto(f"{served.url}/s/small")
    page.get_by_role("heading", name="small", level=1).wait_for()
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "fake.png", "mimeType": "image/png", "buffer": b"not a picture"}
    )
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("What to do:")


def red_picture() -> bytes:
    from io import BytesIO

    from PIL import Image

    held = BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(held, "PNG")
    return held.getvalue()


def test_a_component_shows_examples_along_its_whole_range(visitor, rest):
    page = visitor
    page.goto("/s/small/c/conv_head/3")
    due = rest.get("/snapshots/small/components/conv_head/3/range").json()
    along = page.get_by_role("region", name="Along the whole range").get_by_role("list", name="Activations from")
    filled = [each for each in due["sets"] if each["n"] > 0]
    expect(along).to_have_count(len(filled))
    assert sum(each["n"] for each in due["sets"]) == due["n"] == 110
    expect(along.last.get_by_role("listitem")).to_have_count(min(6, filled[-1]["n"]))
    page.get_by_label("Cut into").select_option("quantile")
    expect(along).to_have_count(8)
    expect(page.get_by_text("14 pictures · 13 %").first).to_be_visible()
    wide, side, whole = (
        page.locator(f"main {part}").first.bounding_box()["width"] for part in ("section.panel", "aside", ".withside")
    )
    assert wide + side > 0.95 * whole  # pictures have all the room that figures leave


def test_an_unknown_component_is_refused_with_a_remedy_and_not_a_blank_page(visitor, served, refusals):
    page = visitor
    refusals.append(404)
    page.goto(f"{served.url}/s/small/c/conv_head/999999")
    refusal = page.get_by_role("alert")
    expect(refusal).to_be_visible(timeout=UNHURRIED)
    expect(refusal).to_contain_text("What to do:")


def test_who_is_not_logged_in_is_told_how_to(page, served, refusals):
    refusals.append(401)
    page.goto(f"{served.url}/s/small?q=a+cat")
    expect(page.get_by_text("xsys login-link")).to_be_visible()
    assert page.url == f"{served.url}/login"


def test_after_logging_in_one_is_where_one_wanted_to_be(page, served, refusals):
    refusals.append(401)
    page.goto(f"{served.url}/jobs")
    expect(page.get_by_text("xsys login-link")).to_be_visible()
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()


def test_a_link_works_once(logged_in, chromium, served):
    link = served.login_link()
    logged_in.goto(link)
    expect(logged_in.get_by_role("heading", name="Snapshots", level=1)).to_be_visible()
    other = chromium.new_context()
    second = other.new_page()
    second.goto(link)
    expect(second.get_by_role("alert")).to_be_visible()
    expect(second.get_by_role("heading", name="Snapshots", level=1)).to_have_count(0)
    other.close()


def finished_row(page):
    """The newest finished build of a snapshot; other tests cancel theirs."""
    builds = page.get_by_role("row").filter(has_text="lite0 on demo")
    return builds.filter(has=page.get_by_text("done", exact=True)).first


def test_a_finished_job_shows_its_stages(visitor):
    page = visitor
    page.goto("/")
    page.get_by_role("link", name="Jobs").click()
    finished_row(page).get_by_role("link", name=re.compile("lite0 on demo")).click()
    stages = page.get_by_role("list", name="Stages").get_by_role("listitem")
    expect(stages.first).to_be_visible()
    assert [stage.get_by_text("done", exact=True).count() for stage in stages.all()] == [1] * stages.count()
    expect(page.get_by_role("link", name="Open the result")).to_be_visible()


def test_logging_out_ends_the_session(logged_in, served, refusals):
    page = logged_in
    refusals.append(401)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("xsys login-link")).to_be_visible()
    page.goto(f"{served.url}/s/small")
    expect(page.get_by_text("xsys login-link")).to_be_visible()


def test_a_page_is_loaded_when_it_is_first_visited(page, served):
    scripts: list[str] = []
    page.on("request", lambda asked: scripts.append(asked.url) if asked.url.endswith(".js") else None)
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible(timeout=UNHURRIED)
    assert [url for url in scripts if "Page-" in url] == []  # the list of snapshots is in the first script
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
    assert any("ModelsPage-" in url for url in scripts)


def test_the_theme_survives_a_reload(visitor):
    page = visitor
    page.goto("/")
    before = page.locator("html").get_attribute("data-theme")
    after = {"light": "dark", "dark": "light"}[before]
    page.get_by_role("button", name=f"Use the {after} theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", after)
    page.reload()
    expect(page.get_by_role("button", name=f"Use the {before} theme")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-theme", after)


def test_a_finished_job_leads_to_its_result(visitor):
    page = visitor
    page.goto("/")
    page.get_by_role("link", name="Jobs").click()
    finished_row(page).get_by_role("link", name=re.compile("lite0 on demo")).click()
    page.get_by_role("link", name="Open the result").click()
    expect(page.get_by_role("heading", name="small", level=1)).to_be_visible()
    assert re.search(r"/s/s_\w+$", page.url)
