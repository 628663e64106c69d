"""Debian's browser on the real server, watched for faults."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState, expect, sync_playwright

from contracts.governance import Role
from orchestration.governance.service import Governance
from services.kit.db import Database
from services.kit.settings import Settings
from services.model.language.pair import write_pair
from tests.language_world import LAYER, SUBJECT_LAYER, WORDS

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
RUNNING = ExitStack()
REFUSED = {0: "ERR_INTERNET_DISCONNECTED"}  # no answer at all
UNHURRIED = 20_000  # milliseconds; the first search loads the encoder
expect.set_options(timeout=UNHURRIED)


@pytest.fixture(scope="session")
def chromium() -> Browser:
    """Debian's browser; nothing is downloaded."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = RUNNING.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    RUNNING.callback(browser.close)
    return browser


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the browser behind its last test: its event loop runs in this thread, where others need their own."""
    yield
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        RUNNING.close()


@pytest.fixture(scope="session")
def rest(served) -> Iterator[httpx.Client]:
    """The REST interface of the same server, as a script would use it."""
    headers = {"Authorization": f"Bearer {served.token()}"}
    with httpx.Client(base_url=f"{served.url}/v1", headers=headers, timeout=120) as client:
        yield client


def finished(rest: httpx.Client, answer: httpx.Response, seconds: float = 240) -> dict:
    """Wait for a job that was just asked for. Anything but `done` is an error."""
    assert answer.is_success, answer.text
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        job = rest.get(f"/jobs/{answer.json()['id']}").json()
        if job["state"] in {"done", "failed", "cancelled"}:
            assert job["state"] == "done", job["failures"]
            return job
        time.sleep(0.2)
    raise AssertionError(f"not done after {seconds} s: {job}")


@pytest.fixture(scope="session")
def labelled(rest) -> str:
    """The snapshot `small` with labels of one layer from the names of the dataset's classes; its label set's id."""
    request = {
        "snapshot": "small", "layers": ["blocks.5"], "vocabulary": "classes", "scorers": ["mean", "csp"],
        "text": "bare",
    }  # fmt: skip
    return finished(rest, rest.post("/labels", json=request))["result"]


@pytest.fixture(scope="session")
def aligned(rest) -> str:
    """Two layers of the model with k-means concepts, matched; the comparison's id."""
    request = {
        "dataset": "demo", "sides": [{"model": "lite0", "layers": ["blocks.5", "conv_head"]}], "name": "aligned",
        "method": "kmeans", "parameters": {"k": 12}, "permutations": 10, "points": {"per_sample": 2},
    }  # fmt: skip
    return finished(rest, rest.post("/comparisons", json=request))["result"]


@pytest.fixture(scope="session")
def colours(served, tmp_path_factory) -> None:
    """Sixty small pictures of two colours, and a tiny random network, both registered."""
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import timm
    import torch
    from safetensors.torch import save_file

    folder, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (folder / label).mkdir()
        for index in range(30):
            pixels = np.clip(draw.normal(colour, 40, (48, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    served.installation.run("dataset", "add", str(folder), "--name", "colours")
    served.installation.run("model", "add", "tiny", "--architecture", "timm:test_resnet", "--weights", str(weights))


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Path:
    """Two tiny language models of one corpus, and the corpus."""
    return write_pair(tmp_path_factory.mktemp("pair"))


def written(served, pair: Path, which: str, name: str) -> dict:
    """Register a model of the pair."""
    words = ("model", "add", name, "--architecture", "causal_lm:llama", "--weights", str(pair / which))
    return served.installation.json(*words, "--config", '{"perplexity_limit": null}')["ref"]


@pytest.fixture(scope="session")
def writer(served, pair) -> dict:
    """The first, registered."""
    return written(served, pair, "first", "writer")


def captured(rest: httpx.Client, model: str, layer: str) -> None:
    request = {"model": model, "corpus": "texts", "layers": [layer], "shard": 400, "name": f"of {model}"}
    finished(rest, rest.post("/captures", json=request))


@pytest.fixture(scope="session")
def atlas(served, rest, pair, writer) -> str:
    """Labelled latents of the first model's first layer; the atlas's id."""
    words = ("dataset", "add", str(pair / "corpus"), "--name", "texts", "--kind", "text", "--option", "window=64")
    served.installation.run(*words)
    captured(rest, "writer", LAYER)
    sae = {
        "capture": "of writer", "layer": LAYER, "name": "latents", "latents": 64, "k": 4, "steps": 300, "batch": 128,
        "learning_rate": 3e-3,
    }  # fmt: skip
    finished(rest, rest.post("/saes", json=sae))
    labels = {"sae": "latents", "name": "words", "vocabulary": "list", "names": WORDS}
    return finished(rest, rest.post("/atlases", json=labels))["result"]


@pytest.fixture(scope="session")
def carried(served, rest, pair, atlas) -> str:
    """The atlas on the second model's last layer; the alignment's id."""
    written(served, pair, "second", "reader")
    captured(rest, "reader", SUBJECT_LAYER)
    request = {"atlas": "words", "capture": "of reader", "name": "words on reader"}
    return finished(rest, rest.post("/alignments", json=request))["result"]


@pytest.fixture
def refusals() -> list[int]:
    """Statuses that a test provokes, 0 for no answer; Chromium writes a line into its console for each."""
    return []


def watched(context: BrowserContext, served, refusals: list[int]) -> tuple[Page, list[str]]:
    """A page, and the list that its faults go to: script and console errors, broken policies, foreign hosts."""
    context.set_default_timeout(UNHURRIED)
    page = context.new_page()
    faults: list[str] = []

    def heard(line: ConsoleMessage) -> None:
        expected = any(REFUSED.get(status, f"status of {status}") in line.text for status in refusals)
        if "Content Security Policy" in line.text or (line.type == "error" and not expected):
            faults.append(f"console: {line.text} at {line.location['url']}")

    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", heard)
    page.on("request", lambda asked: None if is_own(asked.url, served.url) else faults.append(f"foreign: {asked.url}"))
    return page, faults


def is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:", "blob:"))


@pytest.fixture
def page(chromium, served, refusals) -> Iterator[Page]:
    """A fresh browser profile that nobody is logged in to."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page, faults = watched(context, served, refusals)
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def logged_in(page, served) -> Page:
    """The list of snapshots, right after a one-time link."""
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible(timeout=UNHURRIED)
    return page


@pytest.fixture(scope="session")
def cookies(chromium, served) -> StorageState:
    """One login for all tests that do not care how they got in."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(served.login_link())
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible(timeout=UNHURRIED)
    held = context.storage_state()
    context.close()
    return held


@pytest.fixture
def visitor(chromium, served, refusals, cookies) -> Iterator[Page]:
    """A fresh browser profile that is logged in, on no page yet; addresses may be relative to the server."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, base_url=served.url, storage_state=cookies)
    page, faults = watched(context, served, refusals)
    yield page
    context.close()
    assert faults == []


@contextmanager
def somebody(chromium: Browser, served, name: str, role: Role) -> Iterator[Page]:
    """Another person of the same workspace in a browser profile of their own, logged in."""
    settings = Settings(home=served.installation.home)
    database = Database(settings.resolved_database_url)
    governance = Governance(database, settings)
    link = governance.login_link(governance.add_member(name, role))
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, base_url=served.url)
    page, faults = watched(context, served, [])
    page.goto(link)
    expect(page.get_by_role("heading", name="Snapshots", level=1)).to_be_visible()
    yield page
    context.close()
    database.close()
    assert faults == []


def natural_width(picture) -> int:
    """Pixels of a loaded picture; 0 where it is broken."""
    return picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth }")
