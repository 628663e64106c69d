"""A language model goes on with a prompt as it is and changed, side by side."""

import re

import pytest
from playwright.sync_api import expect

from services.model.language.pair import document
from tests.browser.conftest import UNHURRIED, finished
from tests.language_world import LAYER

pytestmark = pytest.mark.browser


def texts(page, arm):
    return page.get_by_role("list", name=f"Texts: {arm}").get_by_role("listitem")


def test_a_prompt_is_continued_as_it_is_and_changed(visitor, rest, writer):
    page = visitor
    page.goto("/steer")
    page.get_by_role("link", name="here").click()
    page.get_by_role("combobox", name="Model").select_option(label="writer")
    page.get_by_label("Layer").select_option("model.layers.0")
    page.get_by_label("Components", exact=True).fill("3")
    page.get_by_role("button", name="Take", exact=True).click()
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"unit=3&change=add&strength=1.5$"))
    page.get_by_label("Prompt").fill("The sailor")
    page.get_by_text("How it writes").click()
    page.get_by_label("Tokens").fill("12")
    page.get_by_label("Texts").fill("2")
    page.get_by_label(re.compile("^Temperature")).fill("0")
    page.get_by_role("button", name="Write both").click()
    for arm in ("As it is", "Changed"):
        expect(texts(page, arm)).to_have_count(2, timeout=4 * UNHURRIED)
        expect(texts(page, arm).first).to_contain_text("perplexity to the model as it is", timeout=4 * UNHURRIED)
    change = {"change": "add", "strength": 1.5, "target": {"kind": "component", "layer": "model.layers.0", "index": 3}}
    asked = {"prompt": "The sailor", "max_tokens": 12, "samples": 1, "temperature": 0, "interventions": [change]}
    rows = rest.post(f"/models/{writer['id']}/generations", json=asked).json()["rows"]
    for row, arm in zip(rows, ("As it is", "Changed"), strict=True):
        told = texts(page, arm).first.locator("p").first.text_content()
        assert told == "The sailor" + row["text"]
    assert rows[0]["text"] != rows[1]["text"]


def test_a_concept_of_an_atlas_is_steered_along(visitor, rest, writer, atlas):
    page = visitor
    page.goto(f"/steer/text?model={writer['id']}&prompt=They%20saw")
    page.get_by_label("Concept", exact=True).fill("sea")
    page.get_by_role("button", name="Take its direction").click()
    due = rest.post(f"/atlases/{atlas}/direction", json={"text": "sea", "map": "native", "m": 5}).json()
    latents = page.get_by_role("list", name="Latents of the direction").get_by_role("listitem")
    expect(latents).to_have_count(len(due["latents"]))
    expect(latents.first).to_contain_text(due["latents"][0]["text"])
    expect(page.get_by_text(f"Along “sea” in {LAYER}")).to_be_visible()
    expect(page.get_by_label("Layer")).to_have_count(0)  # a concept has its own
    expect(page).to_have_url(re.compile(rf"of=atlas%3A{atlas}&concept=sea$"))
    with page.expect_request(lambda asked: asked.url.endswith("/generations/open")) as sent:
        page.get_by_role("button", name="Write both").click()
    [change] = sent.value.post_data_json["interventions"]
    assert change["target"]["vector"] == due["vector"] and change["change"] == "add"
    expect(texts(page, "Changed")).to_have_count(1, timeout=4 * UNHURRIED)
    page.get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


def test_the_address_brings_prompt_and_change_back_and_writing_can_be_stopped(visitor, writer):
    page = visitor
    page.goto(
        f"/steer/text?model={writer['id']}&layer=model.layers.1&unit=5&change=ablate&strength=1&prompt=A%20garden"
    )
    expect(page.get_by_label("Prompt")).to_have_value("A garden")
    expect(page.get_by_label("What happens to them")).to_have_value("ablate")
    page.get_by_text("How it writes").click()
    page.get_by_label("Tokens").fill("200")
    page.get_by_label("Texts").fill("8")
    page.get_by_role("button", name="Write both").click()
    with page.expect_request(lambda asked: asked.method == "DELETE" and "/v1/generations/" in asked.url):
        expect(texts(page, "As it is")).to_have_count(8, timeout=4 * UNHURRIED)
        page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Write both")).to_be_enabled(timeout=4 * UNHURRIED)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_component_that_the_layer_does_not_have_is_refused(visitor, writer, refusals):
    page = visitor
    refusals.append(422)
    page.goto(f"/steer/text?model={writer['id']}&layer=model.layers.0&unit=99999&change=add&strength=1")
    page.get_by_role("button", name="Write both").click()
    expect(page.get_by_role("alert")).to_contain_text("99999", timeout=4 * UNHURRIED)


def test_a_text_is_not_written_by_another_model_than_the_one_named(visitor, writer):
    page = visitor
    page.goto("/steer/text?model=lite0")
    expect(page.get_by_text("This model is not here")).to_be_visible()
    expect(page.get_by_role("button", name="Write")).to_have_count(0)


def test_measured_strengths_are_shown_and_taken_up(visitor, rest, writer, atlas):
    page = visitor
    address = f"/steer/text?model={writer['id']}&layer={LAYER}&unit=3&change=add"
    page.goto(address)
    expect(page.get_by_text("No strength is recommended")).to_be_visible()
    others = [document(subject, sentences=3, seed=n) for subject in ("sky", "garden") for n in range(20)]
    sea = {"name": "sea", "texts": [document("sea", sentences=3, seed=n) for n in range(32)]}
    asked = {
        "model": "writer", "concepts": [sea], "others": others, "atlas": "words", "strengths": [0.3, 0.6, 1.2],
        "prompts": ["the ", "we saw a ", "every ", "there was "], "samples": 1, "directions": 1, "max_tokens": 16,
    }  # fmt: skip
    job = finished(rest, rest.post("/steering-evaluations", json=asked))["id"]
    arms = {one["arm"]: one for one in rest.get(f"/jobs/{job}/steering-evaluation").json()["arms"]}
    shown = page.get_by_role("list", name="Measured strengths").get_by_role("listitem")
    page.goto(address)
    expect(shown).to_have_count(2)
    expect(page.get_by_role("link", name="Difference")).to_have_attribute("href", f"/jobs/{job}")
    for place, name in enumerate(("difference", "native")):  # both are the first layer's, random and prompt say nothing
        window, held = arms[name]["window"], arms[name]["held_out"]
        told = (
            " to ".join(f"{each:.2f}" for each in sorted({window["low"], window["high"]}))
            if window
            else arms[name]["no_window"]["detail"]
        )
        expect(shown.nth(place)).to_contain_text(told)
        take = shown.nth(place).get_by_role("button", name="Use")
        expect(take).to_have_count(int(window is not None))
        if window:
            best = held["strength"] if held else None
            used = best if best is not None and window["low"] <= best <= window["high"] else window["low"]
            take.click()
            expect(page).to_have_url(re.compile(rf"strength={used}(&|$)"))
    expect(page.locator(".band")).to_have_count(int(any(arms[name]["window"] for name in ("difference", "native"))))
    page.get_by_label("Layer").select_option("model.layers.1")
    expect(page.get_by_text("No strength is recommended")).to_be_visible()
