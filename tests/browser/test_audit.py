"""An audit from the policy to the signature."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import expect

from orchestration.cli import clever_hans
from services.kit.scenes.checkpoints import packaged_encoder, packaged_weights
from tests.browser.conftest import finished, natural_width

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


@pytest.fixture
def flagged(served, rest) -> Iterator[str]:
    """The audit of a net that was misled by a tag; its id."""
    run = served.installation.run
    for name, options in {
        "held-out": ("n=200", "split=test"),
        "without-tag": ("n=120", "split=validation", "planting=never"),
        "with-tag": ("n=120", "split=validation", "planting=always"),
    }.items():
        run("dataset", "add", "scenes", "--name", name, *(part for one in options for part in ("--option", one)))
    run("model", "add", "misled", "--architecture", clever_hans.CNN, "--weights", str(packaged_weights("cnn-1")))
    encoder = packaged_encoder(served.installation.home / "controlled")
    asked = ("--model", "misled", "--dataset", "held-out", "--layer", clever_hans.LAYER, "--name", "misled")
    run("snapshot", "build", *asked, "--encoder", encoder, "--k", "20")
    yield finished(rest, rest.post("/audits", json={"snapshot": "misled", "yaml": clever_hans.POLICY}))["result"]
    with closing(sqlite3.connect(served.installation.home / "xsys.sqlite")) as db, db:
        db.execute("DELETE FROM snapshot WHERE name = 'misled'")  # to other tests the newest one is `small`


def test_what_is_flagged_is_repaired_and_the_figures_stand_beside_the_controls(visitor, rest, flagged):
    page = visitor
    page.goto(f"/audits/{flagged}")
    expect(page.get_by_text("Nothing was repaired for triangle yet.")).to_be_visible()
    page.get_by_text("Repair the model").click()
    page.get_by_label("Name of the new model").fill("mended")
    page.get_by_label("Judged on pictures without the artefact").select_option(label="without-tag")
    page.get_by_label("and with it").select_option(label="with-tag")
    page.get_by_role("button", name="Begin").click()
    expect(page).to_have_url(re.compile(r"/jobs/j_\w+$"))
    expect(page.get_by_text("done").first).to_be_visible(timeout=120_000)
    page.goto(f"/audits/{flagged}")
    table = page.get_by_role("table", name=re.compile("^mended: [0-9]+ components? of relu4 suppressed"))
    (done,) = rest.get(f"/audits/{flagged}/corrections").json()["items"]
    for title, row in (("before", "before"), ("suppressed", "after"), ("least active units instead", "magnitude")):
        cells = table.get_by_role("row", name=re.compile(f"^{title}")).get_by_role("cell")
        expect(cells.nth(0)).to_contain_text(f"{done[row]['clean']['value']:.3f}")
        expect(cells.nth(1)).to_contain_text(f"{done[row]['artefact']['value']:.3f}")
        expect(cells.nth(2)).to_contain_text(f"{done[row]['separation']['value']:.3f}")
    assert done["after"]["artefact"]["value"] > done["before"]["artefact"]["value"]
