"""Why this prediction: maps side by side, and the components behind it."""

import io
import re

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED, natural_width
from tests.browser.test_every_page import faults_of

pytestmark = pytest.mark.browser
MAPS = "method=gradcam&method=epsilon_plus"


def cards(page):
    return page.get_by_role("list", name="Maps", exact=True).locator(":scope > li")


def test_a_picture_of_a_dataset_is_predicted_and_explained_by_several_methods(visitor):
    page = visitor
    page.goto("/")
    page.get_by_role("link", name="Predict").click()
    page.get_by_role("combobox", name="Model").select_option(label="lite0")
    page.get_by_role("combobox", name="Dataset").select_option(label="demo (110)")
    page.get_by_role("list", name="Pictures of the dataset").get_by_role("button").nth(7).click()
    outputs = page.get_by_role("list", name="Largest outputs").get_by_role("button")
    expect(outputs).to_have_count(5)
    assert re.search(r"/predict\?model=m_\w+&dataset=d_\w+&sample=7$", page.url)
    assert cards(page).get_by_role("heading").all_text_contents() == ["gradient x input", "gradcam", "epsilon plus"]
    expect(cards(page).get_by_alt_text("What the model saw")).to_have_count(3)
    for card in cards(page).all():
        assert natural_width(card.get_by_alt_text(re.compile("^Map by"))) == 224
    gap = cards(page).nth(2).locator("dt:text-is('Conservation gap') + dd").text_content()
    assert float(gap.replace("−", "-")) < 1e-3  # LRP loses nothing of the score, and says so

    ranked = page.get_by_role("list", name="Most relevant components of conv_head").get_by_role("link")
    expect(ranked).to_have_count(8)
    index = ranked.first.text_content()
    ranked.first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"conv_head · {index}")


def test_the_address_of_an_explanation_shows_it_again_and_agrees_with_rest(visitor, served):
    page = visitor
    page.goto(f"/predict?model=lite0&dataset=demo&sample=3&{MAPS}&layer=conv_head")
    expect(cards(page).get_by_alt_text("What the model saw")).to_have_count(2)
    asked = {"sample": {"dataset": "demo", "index": 3}, "methods": ["epsilon_plus"], "layers": ["conv_head"]}
    headers = {"Authorization": f"Bearer {served.token()}"}
    answer = httpx.post(
        f"{served.url}/v1/models/lite0/attributions", json={**asked, "components": 8}, headers=headers, timeout=60
    ).json()
    shown = page.get_by_role("list", name="Largest outputs").get_by_role("button")
    assert [each["name"] in told for each, told in zip(answer["top"], shown.all_text_contents(), strict=True)] == [
        True
    ] * 5
    ranked = page.get_by_role("list", name="Most relevant components of conv_head").get_by_role("link")
    expect(ranked).to_have_text([str(each["index"]) for each in answer["layers"][0]["components"]])


def test_another_output_can_be_explained_and_the_map_faded(visitor):
    page = visitor
    page.goto(f"/predict?model=lite0&dataset=demo&sample=3&{MAPS}")
    outputs = page.get_by_role("list", name="Largest outputs").get_by_role("button")
    expect(outputs.first).to_have_attribute("aria-pressed", "true")
    second = outputs.nth(1).locator(".name").text_content()
    outputs.nth(1).click()
    expect(page.get_by_text("Explained:")).to_contain_text(second)
    assert re.search(r"&target=\d+$", page.url)
    drawn = cards(page).first.get_by_alt_text(re.compile("^Map by"))
    slider = page.get_by_role("slider", name="Map over picture")
    slider.focus()
    page.keyboard.press("Home")
    assert drawn.evaluate("map => map.style.opacity") == "0"
    page.keyboard.press("End")
    assert drawn.evaluate("map => map.style.opacity") == "1"

    page.get_by_label("Why not another?").fill("tabby, tabby cat")
    page.get_by_role("button", name="Explain", exact=True).click()
    expect(page.get_by_text("Explained:")).to_contain_text("tabby, tabby cat")


def test_an_uploaded_picture_is_explained_and_a_method_that_does_not_fit_says_so(visitor, refusals):
    page = visitor
    refusals.append(422)
    page.goto(f"/predict?model=lite0&{MAPS}&method=rollout")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(noise).save(held, "PNG")
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "noise.png", "mimeType": "image/png", "buffer": held.getvalue()}
    )
    expect(page.get_by_text("Picture: noise.png")).to_be_visible()
    expect(cards(page).get_by_alt_text("What the model saw")).to_have_count(2)
    refused = cards(page).filter(has=page.get_by_role("heading", name="rollout", exact=True))
    expect(refused.get_by_role("alert")).to_contain_text("What to do:")
    page.get_by_role("button", name="Remove rollout").click()
    expect(cards(page)).to_have_count(2)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_relevance_is_checked_by_ablation(visitor):
    page = visitor
    page.goto("/predict?model=lite0&dataset=demo&sample=3&method=epsilon_plus&layer=conv_head")
    page.get_by_role("button", name="Check by ablation").click()
    told = page.get_by_text("Checked by ablating 64 components")
    expect(told).to_be_visible()
    figures = [float(text.replace("−", "-")) for text in told.locator("b").all_text_contents()]
    assert len(figures) == 3
    assert -1 <= figures[0] <= 1


def test_what_flows_between_the_components_of_two_layers_is_drawn(visitor, rest):
    page = visitor
    page.goto("/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=blocks.5&layer=conv_head")
    page.get_by_role("button", name="What flows between them").click()
    graph = page.get_by_role("group", name=re.compile("^8 components by epsilon, "))
    expect(graph).to_be_visible(timeout=4 * UNHURRIED)
    asked = {"sample": {"dataset": "demo", "index": 7}, "layers": ["blocks.5", "conv_head"], "fallback": "gradient"}
    asked["check"] = True
    due = rest.post("/models/lite0/component-graph", json=asked).json()
    assert due["layers"] == ["conv_head", "blocks.5"]
    expect(graph.locator("path.flow")).to_have_count(len(due["edges"]))
    told = f"components {due['check']['nodes']:.2f}, flows {due['check']['edges']:.2f}".replace("-", "−")
    expect(page.get_by_text(f"Checked by ablation, rank correlation: {told}")).to_be_visible()
    boxes = graph.get_by_role("link")
    expect(boxes).to_have_count(len(due["nodes"]))
    first = due["nodes"][0]
    expect(boxes.first).to_have_accessible_name(f"conv_head · {first['index']}")
    assert faults_of(page) == []
    boxes.first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"conv_head · {first['index']}")


def test_plays_lead_from_the_score_to_the_picture(visitor, rest):
    page = visitor
    page.goto("/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=conv_head")
    page.get_by_role("button", name="Walk from the score to the picture").click()
    drawn = page.get_by_role("img", name=re.compile("^64 plays by magnitude: "))
    expect(drawn).to_be_visible(timeout=4 * UNHURRIED)
    asked = {"sample": {"dataset": "demo", "index": 7}, "rule": "magnitude", "plays": 64, "biases": False, "seed": 0}
    plays = rest.post("/models/lite0/plays", json=asked).json()["plays"]
    arrived = [play for play in plays if play["ended"] == "picture"]
    assert len(arrived) > 5
    expect(drawn).to_have_accessible_name(re.compile(f"{len(arrived)} reach the picture"))
    expect(drawn.locator("circle")).to_have_count(len(arrived))
    expect(drawn.locator("polyline")).to_have_count(len(plays))
    page.get_by_role("button", name="Play again").click()
    expect(drawn.locator("polyline")).to_have_count(64, timeout=4 * UNHURRIED)
    assert faults_of(page) == []


def test_one_layer_has_no_flow_and_says_so(visitor):
    page = visitor
    page.goto("/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=conv_head")
    expect(page.get_by_text("Choose two layers or more")).to_be_visible(timeout=UNHURRIED)
