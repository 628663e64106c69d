"""A training watched live, two runs side by side, and both taken home as files."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import finished

pytestmark = pytest.mark.browser
TRAINING = {"model": "tiny", "dataset": "colours", "epochs": 3, "batch": 16, "learning_rate": 0.2}


def points(page, chart: str, line: int) -> list[str]:
    drawing = page.get_by_role("img", name=re.compile(f"^{chart} over epoch"))
    return drawing.locator("polyline").nth(line).get_attribute("points").split()


@pytest.fixture(scope="module")
def first_run(rest, colours) -> dict:
    return finished(rest, rest.post("/trainings", json={**TRAINING, "name": "gradual", "method": "gradient"}))


def test_a_running_training_draws_its_curves_by_itself(visitor, rest, colours):
    page = visitor
    job = rest.post("/trainings", json={**TRAINING, "name": "fed"}).json()
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_role("heading", name="Epochs")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Accuracy over epoch"))).to_be_visible(timeout=90_000)
    expect(page.get_by_role("link", name="Open the result")).to_be_visible(timeout=90_000)
    curve = rest.get(f"/jobs/{job['id']}/curve").json()["epochs"]
    assert len(curve) == 3
    expect(page.get_by_role("img", name=re.compile("^Loss over epoch")).locator("polyline").first).to_have_attribute(
        "points", re.compile(r"^\S+ \S+ \S+$")
    )
    heights = [float(point.split(",")[1]) for point in points(page, "Loss", 0)]
    losses = [epoch["loss"] for epoch in curve]
    assert sorted(range(3), key=lambda at: -heights[at]) == sorted(range(3), key=lambda at: losses[at])  # y grows down


def test_two_runs_are_compared_and_taken_home(visitor, rest, first_run):
    page = visitor
    second = finished(rest, rest.post("/trainings", json={**TRAINING, "name": "slower", "learning_rate": 0.02}))
    page.goto(f"/jobs/{first_run['id']}")
    page.get_by_role("link", name="Compare with other runs").click()
    page.get_by_role("checkbox", name=f"Compare {second['title']}").click()
    expect(page).to_have_url(re.compile(f"/runs\\?job={first_run['id']}&job={second['id']}$"))
    assert len(points(page, "Validation accuracy", 0)) == len(points(page, "Validation accuracy", 1)) == 3

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    lines = saved.value.path().read_text().splitlines()
    assert lines[0].startswith("run,epoch,accuracy,validation_accuracy,loss")
    curve = rest.get(f"/jobs/{first_run['id']}/curve").json()["epochs"]
    assert [float(line.split(",")[-1]) for line in lines[1:4]] == [epoch["sign_flips"] for epoch in curve]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save Validation loss as SVG").click()
    drawing = saved.value.path().read_text()
    assert drawing.startswith("<svg ")
    assert drawing.count("<polyline ") == 2
    assert "rgb(" in drawing  # colours are in the file, not in a style sheet that it would lack
