"""The map of a snapshot: look, select, pick, share."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from safetensors.numpy import load

pytestmark = pytest.mark.browser
MAP = re.compile("^Map of")


@pytest.fixture(scope="module")
def plane(rest):
    return load(rest.get("/snapshots/small/map", params={"layout": "pca"}).content)


def grey_share(canvas) -> float:
    """Share of the drawn pixels that have no colour."""
    pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    spread = pixels.max(-1) - pixels.min(-1)
    drawn = pixels.max(-1) < 225
    return float((spread[drawn] < 20).mean())


def test_every_component_is_on_the_map_and_a_region_of_it_can_be_selected(visitor, plane):
    page = visitor
    page.goto("/s/small?layer=conv_head")
    expect(page.get_by_role("link", name="Map", exact=True)).to_have_attribute("href", "/s/small/map")
    page.goto("/s/small/map?layout=pca")  # the first UMAP of a process compiles for a minute
    canvas = page.get_by_role("img", name=re.compile(f"^Map of {len(plane['index'])} components, all selected"))
    expect(canvas).to_be_visible()
    assert grey_share(canvas) < 0.1

    page.get_by_role("button", name="Box").click()
    box = canvas.bounding_box()
    middle, side = box["x"] + box["width"] / 2, 560 / 2 * 0.92  # pixels of a unit of the plane
    page.mouse.move(middle, box["y"] + 280)
    page.mouse.down()
    page.mouse.move(middle + side / 2, box["y"] + 280 - side / 2, steps=4)
    page.mouse.up()
    expect(page.get_by_role("heading", name="Selected")).to_be_visible()
    x, y = plane["xy"].T
    within = int(((x > 0) & (x < 0.5) & (y > 0) & (y < 0.5)).sum())
    told = int(re.search(r", (\d+) selected", page.get_by_role("img", name=MAP).get_attribute("aria-label"))[1])
    assert abs(told - within) <= 0.03 * within + 2  # the pointer moves in whole pixels
    assert grey_share(page.get_by_role("img", name=MAP)) > 0.1

    address = page.url
    page.goto("/")
    page.goto(address)
    expect(page.get_by_role("img", name=re.compile(rf", {told} selected"))).to_be_visible()
    page.get_by_role("img", name=MAP).focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="All components")).to_be_visible()


def test_a_point_is_picked_and_leads_to_its_component(visitor, plane):
    page = visitor
    page.goto("/s/small/map?layout=pca")
    canvas = page.get_by_role("img", name=MAP)
    expect(canvas).to_be_visible()
    place = int(np.argmax(plane["xy"][:, 0] + plane["xy"][:, 1]))  # at the upper right, where there are few
    box, (x, y) = canvas.bounding_box(), plane["xy"][place].tolist()
    spot = (box["x"] + box["width"] / 2 + x * 280 * 0.92, box["y"] + 280 - y * 280 * 0.92)
    layers = ["blocks.5", "conv_head", "classifier"]
    name = f"{layers[plane['layer'][place]]} · {plane['index'][place]}"
    page.mouse.move(*spot)
    expect(page.locator(".tip")).to_contain_text(name)
    page.mouse.click(*spot)
    picked = page.get_by_role("region", name="Picked component")
    expect(picked.get_by_role("heading")).to_contain_text(name)
    picked.get_by_role("link", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def test_layers_and_colours_are_chosen_by_keyboard_and_kept_in_the_address(visitor, plane):
    page = visitor
    page.goto("/s/small/map?layout=pca&layer=conv_head&colour=clarity")
    of_layer = plane["layer"] == 1
    canvas = page.get_by_role("img", name=re.compile(rf", {int(of_layer.sum())} selected"))
    expect(canvas).to_be_visible()
    clearest = int(np.nanargmax(np.where(of_layer, plane["clarity"], np.nan)))
    first = page.get_by_role("list", name="Clearest of the selection").get_by_role("link").first
    expect(first).to_contain_text(f"conv_head · {plane['index'][clearest]}")
    page.get_by_role("checkbox", name="blocks.5").press("Space")
    expect(page.get_by_role("img", name=re.compile(rf", {int((plane['layer'] <= 1).sum())} selected"))).to_be_visible()
    assert "layer=conv_head&layer=blocks.5" in page.url
