"""The main path in a real browser: log in, search, open a component."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
UNHURRIED = 20_000  # milliseconds; the first search loads the encoder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's browser; nothing is downloaded."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, served) -> Iterator[Page]:
    """A fresh browser profile that fails the test for script errors, broken policies and foreign hosts."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(UNHURRIED)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda asked: None if is_own(asked.url, served.url) else faults.append(f"foreign: {asked.url}"))
    yield page
    context.close()
    assert faults == []


def is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:", "blob:"))


@pytest.fixture
def logged_in(page, served) -> Page:
    """The list of snapshots, right after a one-time link."""
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible(timeout=UNHURRIED)
    return page


def natural_width(picture) -> int:
    """Pixels of a loaded picture; 0 while it is loading or where it is broken."""
    return picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth }")


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


def test_a_search_link_opens_the_same_search_for_a_colleague(logged_in, served):
    page = logged_in
    page.goto(f"{served.url}/s/small?q=a+rocket&layer=conv_head&min_clarity=0.1")
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=UNHURRIED)
    assert {name.split(",")[0] for name in names_of(cards)} == {"conv_head"}
    expect(page.get_by_role("searchbox", name="Search by text")).to_have_value("a rocket")
    expect(page.get_by_role("checkbox", name="conv_head")).to_be_checked()
    expect(page.get_by_label("Clarity at least")).to_have_value("0.1")


def test_a_picture_can_be_searched_with(logged_in, served):
    page = logged_in
    page.goto(f"{served.url}/s/small")
    page.get_by_role("heading", name="small", level=1).wait_for()
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": red_picture()}
    )
    cards = page.get_by_role("list", name="Components found, best first").get_by_role("link")
    expect(cards.first).to_be_visible(timeout=UNHURRIED)
    expect(page.get_by_role("list", name="Further search terms")).to_contain_text("red.png")


def test_a_file_that_is_no_picture_is_refused_with_a_remedy(logged_in, served):
    page = logged_in
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


def test_an_unknown_component_is_refused_with_a_remedy_and_not_a_blank_page(logged_in, served):
    page = logged_in
    page.goto(f"{served.url}/s/small/c/conv_head/999999")
    refusal = page.get_by_role("alert")
    expect(refusal).to_be_visible(timeout=UNHURRIED)
    expect(refusal).to_contain_text("What to do:")


def test_who_is_not_logged_in_is_told_how_to(page, served):
    page.goto(f"{served.url}/s/small?q=a+cat")
    expect(page.get_by_text("xsys login-link")).to_be_visible()
    assert page.url == f"{served.url}/login"


def test_after_logging_in_one_is_where_one_wanted_to_be(page, served):
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


def test_a_finished_job_shows_its_stages(logged_in):
    page = logged_in
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name=re.compile("lite0 on demo")).first.click()
    stages = page.get_by_role("list", name="Stages").get_by_role("listitem")
    expect(stages.first).to_be_visible()
    assert [stage.get_by_text("done", exact=True).count() for stage in stages.all()] == [1] * stages.count()
    expect(page.get_by_role("link", name="Open the result")).to_be_visible()


def test_logging_out_ends_the_session(logged_in, served):
    page = logged_in
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("xsys login-link")).to_be_visible()
    page.goto(f"{served.url}/s/small")
    expect(page.get_by_text("xsys login-link")).to_be_visible()
