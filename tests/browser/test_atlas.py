"""Atlases: latents by label, texts read through them, and what they say of another model."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import UNHURRIED, finished, natural_width
from tests.browser.test_every_page import faults_of, settled
from tests.language_world import LAYER, SUBJECT_LAYER

pytestmark = pytest.mark.browser
TEXT = "the sailor saw the sea. 🙂 they put the bread under the oven."


def test_a_latent_is_found_by_its_label_and_shows_where_it_fires(visitor, rest, atlas):
    page = visitor
    page.goto("/alignment")
    page.get_by_role("link", name="Atlases", exact=True).click()
    page.get_by_role("link", name="words", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("words")
    labels = rest.get(f"/atlases/{atlas}/labels").json()["items"]
    expect(page.get_by_role("status").filter(has_text="of")).to_have_text(f"{len(labels)} of {len(labels)}")
    wanted = labels[0]["text"]
    page.get_by_label("Find by label or number").fill(wanted)
    named = [each for each in labels if wanted in each["text"]]
    rows = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Fires on")).locator("tbody tr")
    expect(rows).to_have_count(len(named))
    best = named[0]
    rows.first.get_by_role("button").click()
    expect(page).to_have_url(re.compile(rf"latent={best['latent']}(&|$)"))
    latent = rest.get(f"/saes/latents/latents/{best['latent']}").json()
    windows = page.get_by_role("list", name="Where it fires most").get_by_role("listitem")
    expect(windows).to_have_count(6)
    page.get_by_role("button", name="Show all").click()
    expect(windows).to_have_count(len(latent["examples"]))
    top = latent["examples"][0]
    expect(windows.first.locator("mark")).to_have_text(top["text"][slice(*top["span"])])
    assert faults_of(page) == []
    page.get_by_role("link", name="Steer a text toward it").click()
    expect(page.get_by_label("Concept", exact=True)).to_have_value(best["text"])
    expect(page.get_by_text(f"Along “{best['text']}” in {LAYER}")).to_be_visible()


def test_a_text_is_read_token_by_token(visitor, rest, atlas):
    page = visitor
    page.goto(f"/atlases/{atlas}")
    page.get_by_role("textbox", name="Text").fill(TEXT)
    page.get_by_role("button", name="Read it").click()
    reading = rest.post(f"/atlases/{atlas}/read", json={"text": TEXT, "k": 3, "trusted": True}).json()
    tokens = page.locator(".tokens .token")
    expect(tokens).to_have_count(len(reading["tokens"]), timeout=4 * UNHURRIED)
    assert "".join(page.locator(".tokens").all_text_contents()) == TEXT
    shown = [TEXT[token["start"] : token["stop"]] for token in reading["tokens"]]
    shown = [
        text if text != before else "" for before, text in zip(["", *shown], shown, strict=False)
    ]  # the emoji's bytes
    assert tokens.all_text_contents() == shown
    first = reading["latents"][0]
    page.get_by_role("list", name="Latents that are active in the text").get_by_role("button").first.click()
    expect(page).to_have_url(re.compile(rf"along={first['latent']}$"))
    alone = rest.post(f"/atlases/{atlas}/read", json={"text": TEXT, "latents": [first["latent"]]}).json()
    active = [token for token in alone["tokens"] if token["labels"]]
    page.get_by_text("Token by token").click()
    expect(page.get_by_role("table").filter(has_text="Activation").locator("tbody tr")).to_have_count(len(active))
    chips = page.get_by_role("list", name="Latents that are active in the text").get_by_role("button")
    expect(chips).to_have_count(min(12, len(reading["latents"])))
    page.get_by_label("Labels that are not trusted too").check()
    every = rest.post(f"/atlases/{atlas}/read", json={"text": TEXT, "k": 3}).json()
    assert len(every["latents"]) > len(reading["latents"])
    expect(chips).to_have_count(min(12, len(every["latents"])))
    page.reload()
    expect(page.get_by_text(f"Marked by {first['text']}, in {LAYER}")).to_be_visible(timeout=4 * UNHURRIED)


def test_a_carried_atlas_says_how_far_it_can_be_trusted_and_names_units(visitor, rest, carried):
    page = visitor
    page.goto("/atlases")
    page.get_by_role("link", name="words on reader").click()
    [layer] = rest.get(f"/alignments/{carried}").json()["layers"]
    assert layer["state"] == "ok"
    maps = page.get_by_role("table", name=re.compile("by map and pool"))
    families = {each["translator"].partition("(")[0] for each in layer["translators"]}
    expect(maps.locator("tbody tr")).to_have_count(len(families) + 2)  # beside tokens alone and chance
    best = next(
        one for one in layer["translators"] if (one["translator"], one["pool"]) == (layer["chosen"], layer["pool"])
    )
    expect(maps.locator("strong")).to_have_text(f"{best['test']['auroc']:.3f}")
    expect(page.get_by_text(f"{layer['chosen']}, {layer['pool']}-pooled")).to_be_visible()
    word = next(one["text"] for one in rest.get("/atlases/words/labels").json()["items"] if one["tier"] == "verified")
    page.get_by_label("Units that are about").fill(word)
    page.get_by_role("button", name="Find").click()
    query = {"text": word, "layer": SUBJECT_LAYER, "k": 12, "latents": 8}
    hits = rest.post(f"/alignments/{carried}/search", json=query).json()["units"]
    found = page.get_by_role("list", name="Units that were found").get_by_role("button")
    expect(found).to_have_count(len(hits))
    found.first.click()
    labels = rest.get(f"/alignments/{carried}/units/{SUBJECT_LAYER}/{hits[0]['unit']}").json()["labels"]
    expect(page.get_by_role("heading", name=f"Unit {hits[0]['unit']}")).to_be_visible()
    units = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Carried")).locator("tbody tr")
    expect(units).to_have_count(len(labels))
    page.get_by_role("textbox", name="Text").fill(TEXT)
    page.get_by_role("button", name="Read it").click()
    expect(page.get_by_text(re.compile(f"in {SUBJECT_LAYER}, carried over by"))).to_be_visible(timeout=4 * UNHURRIED)
    settled(page, "words on reader")
    assert faults_of(page) == []


def test_an_atlas_of_pictures_shows_where_a_latent_fires(visitor, rest):
    page = visitor
    sae = {"snapshot": "small", "layer": "conv_head", "name": "of pictures", "latents": 16, "k": 2, "steps": 60}
    finished(rest, rest.post("/saes", json=sae | {"batch": 8}))
    atlas = finished(rest, rest.post("/atlases", json={"sae": "of pictures", "name": "pictures"}))["result"]
    latents = [rest.get(f"/saes/of%20pictures/latents/{number}").json() for number in range(16)]
    fired = next(one for one in latents if one["examples"])
    page.goto(f"/atlases/{atlas}?latent={fired['index']}")
    shown = page.get_by_role("list", name="Where it fires most").get_by_role("img")
    expect(shown).to_have_count(min(6, len(fired["examples"])))
    assert natural_width(shown.first) > 0
    expect(page.get_by_role("heading", name="Read a text")).to_have_count(0)  # there is nothing to read
    settled(page, "pictures")
    assert faults_of(page) == []
