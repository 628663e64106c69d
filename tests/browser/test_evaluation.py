"""Attribution methods judged over a dataset, begun where one picture was explained."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_methods_on_one_picture_are_judged_over_its_dataset(visitor, rest, served):
    page = visitor
    served.installation.run(
        "dataset", "add", "scenes", "--name", "shapes", "--option", "n=40", "--option", "split=test"
    )
    cnn = "entry_point:services.model.controlled.nets:scenes_cnn"
    served.installation.run("model", "add", "shapes-net", "--architecture", cnn, "--weights", weights())
    page.goto("/predict?model=shapes-net&dataset=shapes&sample=3&method=gradcam&method=epsilon_plus")
    page.get_by_text("Judge these methods over the dataset").click()
    page.get_by_label("Samples").fill("12")
    page.get_by_label("Evidence should lie on").select_option("object")
    page.get_by_role("button", name="Begin").click()
    expect(page).to_have_url(re.compile(r"/jobs/j_\w+$"))
    located = page.get_by_role("table", name="Localisation on the mask “object”")
    expect(located).to_be_visible(timeout=120_000)
    job = page.url.rsplit("/", 1)[1]
    found = rest.get(f"/jobs/{job}/attribution-evaluation").json()
    figures = {(f["method"], f["metric"], f["resolution"], f["evidence"]): f for f in found["figures"]}
    assert found["samples"] == 12 and len(found["figures"]) == 2 * (5 * 2 + 6)
    mass = figures["gradcam", "mass_accuracy", "pixel", "positive"]["value"]["mean"]
    expect(located.get_by_role("row", name=re.compile("^gradcam"))).to_contain_text(f"{mass:.3f}")
    page.get_by_label("Where the evidence lies, by").select_option("pixel/absolute")
    mass = figures["epsilon_plus", "mass_accuracy", "pixel", "absolute"]["value"]["mean"]
    expect(located.get_by_role("row", name=re.compile("^epsilon plus"))).to_contain_text(f"{mass:.3f}")
    expect(page.get_by_role("table", name="Faithfulness, stability, sparsity")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert len(saved.value.path().read_text().splitlines()) == 1 + len(found["figures"])


def weights() -> str:
    from services.kit.scenes.checkpoints import packaged_weights

    return str(packaged_weights("cnn-0"))
