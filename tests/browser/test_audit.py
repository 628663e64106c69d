"""An audit from the policy to the signature."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import natural_width

pytestmark = pytest.mark.browser
POLICY = """version: 1
layers: [blocks.5]
samples: 2
pool: 48
ablate: 0
classes:
  "maze, labyrinth":
    valid: %s
    spurious: ["a brick wall"]
"""


def test_a_policy_is_mended_run_judged_and_signed(visitor, served, rest, refusals):
    page = visitor
    refusals.append(422)
    page.goto("/audits")
    page.get_by_role("link", name="New audit").click()
    policy = page.get_by_role("textbox", name="Policy")
    expect(policy).to_have_value(re.compile("What lite0 may rest on"))
    policy.fill(POLICY % "3")
    page.get_by_role("button", name="Run the audit").click()
    expect(page.get_by_role("heading", name="Line 8")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("should be a valid list")
    expect(page.locator(".gutter .bad")).to_have_text("8")
    expect(policy).to_be_focused()
    written = policy.evaluate("area => area.value.slice(0, area.selectionStart).split('\\n').length")
    assert written == 8  # the caret stands on the line to mend

    policy.fill(POLICY % '["a maze"]')
    page.get_by_role("button", name="Run the audit").click()
    page.get_by_role("link", name="Open the result").click(timeout=300_000)
    audit = rest.get(f"/audits/{page.url.rsplit('/', 1)[1]}").json()
    verdict = "passed" if audit["passed"] else "failed"
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"small {verdict}")
    checks = page.get_by_role("table", name="Limits of the policy").locator("tbody tr")
    expect(checks).to_have_count(len(audit["checks"]))
    points = rest.get(f"/audits/{audit['id']}/points/maze, labyrinth").json()["points"]
    plot = page.get_by_role("img", name=re.compile("^[0-9]+ components of maze, labyrinth between"))
    expect(plot.locator("circle")).to_have_count(len(points))
    evidence = page.get_by_role("list", name="Evidence").locator(":scope > li")
    expect(evidence).to_have_count(len(audit["findings"]))
    assert len(audit["findings"]) > 0
    assert natural_width(evidence.first.get_by_role("img").first) > 0

    page.get_by_label("Note").fill("The wall is behind the maze.")
    page.get_by_role("button", name="Reject").click()
    decision = page.get_by_role("list", name="Decisions").get_by_role("listitem")
    expect(decision).to_contain_text("rejected by operator")
    expect(decision).to_contain_text("The wall is behind the maze.")
    with page.expect_download() as saved:
        page.get_by_role("link", name="JUnit").click()
    assert "<testsuite" in saved.value.path().read_text()
    page.get_by_role("link", name="Audits", exact=True).first.click()
    expect(page.get_by_role("row", name=audit["id"][:8])).to_contain_text("rejected by operator")
