"""What an address names is found where the listing is longer than its first page."""

import json
import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def long(visitor, rest):
    """The same server, whose listings come one by one, without what the tests name on their first page."""
    listed = {}

    def shorten(route):
        url = route.request.url
        kind = re.search(r"/v1/(models|snapshots|datasets)\?", url)[1]
        body = listed.setdefault(kind, rest.get(f"/{kind}", params={"limit": 50}).json())
        if "cursor=" in url:
            route.fulfill(body=json.dumps({**body, "next": None}), content_type="application/json")
        else:
            others = [one for one in body["items"] if one.get("ref", one)["name"] not in {"lite0", "small", "demo"}]
            route.fulfill(body=json.dumps({"items": others, "next": "more"}), content_type="application/json")

    visitor.route(re.compile(r"/v1/(models|snapshots|datasets)\?"), shorten)
    return visitor


def test_a_model_and_a_dataset_beyond_the_first_page_are_found_by_the_address(long):
    page = long
    page.goto("/predict?model=lite0&dataset=demo&sample=7&method=gradcam&layer=conv_head")
    expect(page.get_by_role("combobox", name="Model").locator("option:checked")).to_have_text("lite0")
    expect(page.locator("details.picker select")).to_have_count(1)


def test_an_audit_is_never_begun_on_another_snapshot_than_the_one_named(long, refusals):
    page = long
    page.goto("/audits/new?snapshot=small")
    expect(page.get_by_role("combobox", name="Snapshot").locator("option:checked")).to_have_text("small")
    refusals.append(404)
    page.goto("/audits/new?snapshot=nobody")
    expect(page.get_by_text("This snapshot is not here")).to_be_visible()
    expect(page.get_by_role("button", name="Run")).to_have_count(0)


def test_an_outage_is_not_told_as_absence(long, refusals):
    page = long
    page.route(re.compile(r"/v1/models/lite0$"), lambda route: route.fulfill(status=500))
    refusals.append(500)
    page.goto("/predict?model=lite0&dataset=demo&sample=7")
    expect(page.get_by_role("alert").first).to_be_visible()
    expect(page.get_by_text("This model is not here")).to_have_count(0)
