"""Analysis sessions: several people at once, mid-work reloads, lost connections."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from contracts.governance import Role
from tests.browser.conftest import UNHURRIED, natural_width, somebody

pytestmark = pytest.mark.browser


def begin(page: Page, name: str) -> str:
    """Begin a session through the page; return its id."""
    page.goto("/sessions")
    form = page.get_by_role("form", name="Begin an analysis session")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Snapshot").select_option(label="small")
    form.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    expect(page.get_by_role("main").get_by_text("live", exact=True)).to_be_visible()
    return page.url.rsplit("/", 1)[1]


@pytest.fixture
def colleague(chromium, served) -> Iterator[Page]:
    """Somebody else of the same workspace, an analyst, in a browser profile of their own."""
    NAMES.append(f"grace {len(NAMES)}")
    with somebody(chromium, served, NAMES[-1], Role.ANALYST) as page:
        yield page


NAMES: list[str] = []


def history(rest: httpx.Client, session: str) -> list[str]:
    return [event["what"] for event in rest.get(f"/sessions/{session}/history", params={"limit": 200}).json()["items"]]


def pins_of(page: Page):
    return page.get_by_role("list", name="Pinned components").get_by_role("listitem")


def notes_of(page: Page):
    return page.get_by_role("list", name="Notes").get_by_role("listitem")


def test_two_people_in_one_session_see_each_other_and_lose_no_text(visitor, colleague, rest):
    page, grace = visitor, colleague
    session = begin(page, "two of us")
    page.get_by_role("combobox").select_option("may edit")
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_role("textbox", name="Share link").input_value()
    grace.goto(link)
    expect(grace.get_by_role("heading", name="two of us", level=1)).to_be_visible()
    members = page.get_by_role("list", name="Members")
    expect(members.get_by_role("listitem").filter(has_text=NAMES[-1])).to_contain_text("here")

    grace.goto("/s/small/c/conv_head/3")
    expect(members.get_by_role("link", name="conv_head · 3 · small")).to_be_visible()  # where she looks
    grace.keyboard.press("p")
    expect(grace.get_by_role("button", name="Pinned")).to_be_visible()
    expect(pins_of(page)).to_have_count(1)
    assert natural_width(pins_of(page).first.get_by_role("img").first) > 0

    page.get_by_label("New note").fill("first line\nlast line")
    page.get_by_role("button", name="Add note").click()
    expect(notes_of(page)).to_have_count(1)
    grace.goto(f"/sessions/{session}")
    notes_of(grace).get_by_role("button", name="Edit").click()
    notes_of(page).get_by_role("button", name="Edit").click()
    notes_of(grace).get_by_role("textbox").fill("FIRST LINE\nlast line")
    notes_of(grace).get_by_role("button", name="Save").click()
    expect(notes_of(grace)).to_contain_text("FIRST LINE")
    expect(notes_of(page)).to_contain_text("Somebody changed this note meanwhile")
    notes_of(page).get_by_role("textbox").fill("first line\nLAST LINE")
    notes_of(page).get_by_role("textbox").press("Control+Enter")
    for each in (page, grace):
        expect(notes_of(each).locator(".notetext")).to_have_text("FIRST LINE\nLAST LINE")
    (note,) = rest.get(f"/sessions/{session}").json()["state"]["notes"]
    assert (note["text"], note["both"], len(note["users"])) == ("FIRST LINE\nLAST LINE", False, 2)


def test_a_reload_in_the_middle_of_work_loses_nothing_and_leads_back(visitor, rest):
    page = visitor
    session = begin(page, "interrupted")
    page.goto("/s/small?q=a+clock")
    first = page.get_by_role("list", name="Components found, best first").get_by_role("link").first
    first.focus()
    first.press("p")
    bar = page.get_by_role("complementary", name="Analysis session")
    expect(bar).to_contain_text("1 pin")
    page.wait_for_timeout(2000)  # long enough on the page to have looked at it
    bar.get_by_role("link", name="interrupted").click()
    page.get_by_label("New note").fill("half a thou")
    page.reload()
    expect(page.get_by_label("New note")).to_have_value("half a thou")
    expect(pins_of(page)).to_have_count(1)
    page.get_by_label("New note").fill("half a thought, finished")
    page.get_by_role("button", name="Add note").click()
    expect(notes_of(page)).to_contain_text("half a thought, finished")
    page.get_by_role("link", name="Back to small").click()
    expect(page.get_by_role("searchbox", name="Search by text")).to_have_value("a clock")
    said = history(rest, session)
    assert [what.split(":")[0] for what in said if what.startswith(("searched", "pinned", "looked", "wrote"))][:2]
    assert any(what.startswith("searched for “a clock”") for what in said)
    assert any(what == "looked at small" for what in said)


def test_what_happens_while_the_connection_is_lost_arrives_once_when_it_is_back(visitor, rest, refusals):
    page = visitor
    refusals.append(0)
    session = begin(page, "a tunnel")
    page.get_by_label("New note").fill("written under ground")
    page.context.set_offline(True)
    page.get_by_role("button", name="Add note").click()
    expect(page.get_by_role("alert")).to_contain_text("did not answer")
    expect(page.get_by_label("New note")).to_have_value("written under ground")
    for index in (1, 2):
        action = {"kind": "pin", "layer": "conv_head", "index": index}
        assert rest.post(f"/sessions/{session}/history", json={"action": action}).is_success
    expect(pins_of(page)).to_have_count(0)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(notes_of(page)).to_have_count(1)
    expect(pins_of(page)).to_have_count(2)
    expect(page.get_by_role("list", name="Events, newest first").get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_role("main").get_by_text("live", exact=True)).to_be_visible()


def test_steps_are_taken_back_branched_and_exported(visitor, rest):
    page = visitor
    session = begin(page, "back and forth")
    for index in (4, 5):
        page.goto(f"/s/small/c/conv_head/{index}")
        page.get_by_role("button", name="Pin", exact=True).click()
        expect(page.get_by_role("button", name="Pinned")).to_be_visible()
    page.goto(f"/sessions/{session}")
    expect(pins_of(page)).to_have_count(2)
    page.keyboard.press("Control+z")
    expect(pins_of(page)).to_have_count(1)
    events = page.get_by_role("list", name="Events, newest first")
    taken = [
        event for event in rest.get(f"/sessions/{session}/history").json()["items"] if event["action"]["kind"] == "undo"
    ]
    events.get_by_role("button", name=f"Undo event {taken[0]['seq']}", exact=True).click()
    expect(pins_of(page)).to_have_count(2)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Report").click()
    report = saved.value.path().read_text()
    assert "data:image/webp;base64," in report
    assert "weights sha256" in report
    with page.expect_download() as saved:
        page.get_by_role("link", name="Python").click()
    assert "from xsys_client import connect" in saved.value.path().read_text()
    first_pin = next(
        event for event in rest.get(f"/sessions/{session}/history").json()["items"] if event["action"]["kind"] == "pin"
    )
    events.get_by_role("button", name=f"Branch from event {first_pin['seq']}", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"back and forth at {first_pin['seq']}")
    expect(pins_of(page)).to_have_count(1)
    page.goto("/sessions")
    expect(page.get_by_role("row", name=re.compile("^back and forth"))).to_have_count(2)


def test_a_pin_without_a_session_begins_one(visitor):
    page = visitor
    page.goto("/s/small/c/conv_head/7")
    page.get_by_role("heading", level=1).click()
    expect(page.get_by_role("button", name="Pin", exact=True)).to_be_visible()
    page.keyboard.press("p")
    bar = page.get_by_role("complementary", name="Analysis session")
    expect(bar.get_by_role("link", name=re.compile("^small 20"))).to_be_visible()
    expect(bar).to_contain_text("1 pin")
    bar.get_by_role("button", name="Leave the session").click()
    expect(bar).to_have_count(0)


def test_what_was_asked_is_replayed_and_comes_out_as_recorded(visitor, rest):
    page = visitor
    session = begin(page, "twice")
    page.goto("/s/small?q=a+cat")
    expect(page.get_by_role("list", name="Components found, best first").get_by_role("link").first).to_be_visible()
    deadline = time.monotonic() + 30
    while not any(one["action"]["kind"] == "search" for one in recorded(rest, session)) and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    wrong = {"kind": "search", "query": {"terms": [{"kind": "text", "text": "a cat"}], "k": 1},
             "hits": [{"model": "m_1", "layer": "conv_head", "index": 1, "sign": 1}]}  # fmt: skip
    assert rest.post(f"/sessions/{session}/history", json={"action": wrong}).status_code == 200
    page.goto(f"/sessions/{session}")
    history = page.get_by_role("region", name="History")
    history.get_by_role("button", name="Replay").click()
    expect(history.get_by_role("status").filter(has_text="refused")).to_have_text(
        "1 answer as recorded, 1 differs, 0 refused", timeout=4 * UNHURRIED
    )
    expect(history.get_by_role("button", name="Replay")).to_be_enabled(timeout=UNHURRIED)
    events = history.get_by_role("list", name="Events, newest first").get_by_role("listitem")
    expect(events.filter(has_text="component 1: recorded")).to_have_count(1)
    expect(events.filter(has_text="as recorded")).to_have_count(1)


def recorded(rest, session: str) -> list[dict]:
    return rest.get(f"/sessions/{session}/history", params={"limit": 50}).json()["items"]
