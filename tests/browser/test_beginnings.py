"""Work begun in the browser alone: pictures sent, a model trained and pruned, a model explained."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> str:
    """Forty small pictures of two textures in a zip, a folder for each label."""
    path, draw = tmp_path_factory.mktemp("archive") / "textures.zip", np.random.default_rng(3)
    with zipfile.ZipFile(path, "w") as zipped:
        for label, high in (("smooth", 20), ("rough", 120)):
            for index in range(20):
                pixels = np.clip(128 + draw.normal(0, high, (48, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(held := io.BytesIO(), "PNG")
                zipped.writestr(f"{label}/{index}.png", held.getvalue())
    return str(path)


def ends_well(page) -> None:
    expect(page.get_by_role("status").get_by_text("done", exact=True)).to_be_visible(timeout=4 * UNHURRIED)


def test_pictures_are_sent_then_a_model_is_trained_on_them_and_pruned(visitor, rest, colours, archive):
    page = visitor
    page.goto("/datasets")
    page.get_by_text("Register pictures").click()
    page.get_by_label("Name of the dataset").fill("textures")
    page.get_by_label(re.compile("^Zip")).set_input_files(archive)
    page.get_by_role("button", name="Register", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    ends_well(page)
    assert rest.get("/datasets/textures").json()["labels"] == ["rough", "smooth"]

    page.goto("/runs")
    page.get_by_role("link", name="Train a model").click()
    page.get_by_label("Name of the new model").fill("texture net")
    page.get_by_label("Model to begin with").select_option(label="tiny")
    page.get_by_label("Pictures with labels").select_option(label="textures (40, 2 labels)")
    page.get_by_label("Reward").select_option("margin")
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    ends_well(page)
    trained = rest.get("/models/texture net").json()
    assert trained["classes"] == ["rough", "smooth"]

    page.goto("/runs/new?kind=pruning")
    page.get_by_label("Name of the new model").fill("texture net pruned")
    page.get_by_label("Model to begin with").select_option(label="texture net")
    page.get_by_label("Pictures with labels").select_option(label="textures (40, 2 labels)")
    page.get_by_label("Points of accuracy that may be lost").fill("100")
    page.get_by_role("button", name="Prune", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    ends_well(page)
    assert rest.get("/models/texture net pruned").json()["parameters"] < trained["parameters"]


def test_a_spiking_net_is_drawn_from_a_seed_and_trained(visitor, rest, colours):
    page = visitor
    page.goto("/models")
    page.get_by_text("Register a model").click()
    page.get_by_label("Name of the model").fill("blank")
    page.get_by_label("Architecture").fill("spiking:mlp")
    page.get_by_label("Weights").select_option("drawn")
    page.get_by_role("button", name="Register", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    ends_well(page)

    page.goto("/runs/new")
    page.get_by_label("Name of the new model").fill("spikes")
    page.get_by_label("Model to begin with").select_option(label="tiny")
    expect(page.get_by_label("Reward").locator("option")).to_have_count(5)
    page.get_by_label("Model to begin with").select_option(label="blank")
    page.get_by_label("Reward").select_option("rate_coded")
    page.get_by_label("Pictures with labels").select_option(label="colours (60, 2 labels)")
    page.get_by_label("Epochs", exact=True).fill("1")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    ends_well(page)
    expect(page.get_by_role("heading", name="Share of weights near zero")).to_be_visible()
    assert len(rest.get("/models/spikes").json()["classes"]) == 2


def test_a_model_is_explained_from_its_page(visitor, rest):
    page = visitor
    page.goto("/")
    page.get_by_role("link", name="Explain a model").click()
    page.get_by_label("Name of the snapshot").fill("begun here")
    page.get_by_role("combobox", name="Model", exact=True).select_option(label="lite0")
    page.get_by_label("Pictures").select_option(value=rest.get("/datasets/demo").json()["ref"]["id"])
    with page.expect_request(lambda asked: asked.method == "POST" and asked.url.endswith("/v1/snapshots")) as sent:
        page.get_by_role("button", name="Explain", exact=True).click()
    expect(page).to_have_url(re.compile("/jobs/"))
    page.get_by_role("button", name=re.compile("^Cancel")).click()  # the newest snapshot belongs to other tests
    expect(page.get_by_role("status").get_by_text("cancelled", exact=True)).to_be_visible(timeout=4 * UNHURRIED)
    layers = sent.value.post_data_json["layers"]
    names = [layer["name"] for layer in rest.get("/models/lite0").json()["layers"]]
    assert len(layers) == 5
    assert [layers[0], layers[-1]] == [names[0], names[-1]]


def test_a_refusal_stands_below_the_button(visitor, rest, refusals):
    page = visitor
    refusals.append(422)
    page.goto("/models")
    page.get_by_text("Register a model").click()
    page.get_by_label("Name of the model").fill("nothing")
    page.get_by_label("Architecture").fill("timm:no_such_net")
    page.get_by_role("button", name="Register", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("there is no architecture timm:no_such_net")
    expect(page).to_have_url(re.compile("/models$"))


def test_two_models_are_measured_side_by_side(visitor, colours):
    page = visitor
    page.goto("/models")
    panel = page.get_by_role("region", name="lite0")
    panel.get_by_text("What it costs").click()
    panel.get_by_label("Beside").select_option(label="tiny")
    panel.get_by_role("button", name="Measure").click()
    table = panel.get_by_role("table").filter(has_text="times as fast")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table).to_contain_text(re.compile(r"4\s652\s008"))
