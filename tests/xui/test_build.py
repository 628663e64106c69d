"""The committed build of the browser UI was made from the committed sources; checked without Node."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

XUI = Path(__file__).parents[2] / "services" / "xui"
WEB = XUI / "web"
STATIC = XUI / "static"
FOLDERS = ("src", "public")
FILES = ("index.html", "package.json", "package-lock.json", "sourceDigest.ts", "tsconfig.json", "vite.config.ts")
FIRST_VIEW_LIMIT = 350_000  # bytes of script before compression
FIRST_VIEW_GZIP_LIMIT = 115_000
PAGE_LIMIT = 60_000  # bytes of one page's script


def source_digest() -> str:
    """Do what web/sourceDigest.ts does."""
    inside = (path for folder in FOLDERS for path in (WEB / folder).rglob("*") if path.is_file())
    names = [path.relative_to(WEB).as_posix() for path in inside if not re.search(r"\.test\.tsx?$", path.name)]
    total = hashlib.sha256()
    for name in sorted([*FILES, *names]):
        total.update(f"{name} {hashlib.sha256((WEB / name).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


@pytest.fixture(scope="module")
def start_page() -> str:
    return (STATIC / "index.html").read_text()


def test_the_build_was_made_from_these_sources():
    recorded = json.loads((STATIC / "build.json").read_text())["source_sha256"]
    assert recorded == source_digest(), "the browser UI's build is stale: make web"


def test_every_file_that_the_start_page_names_is_there(start_page):
    named = re.findall(r'(?:src|href)="/([^"]+)"', start_page)
    assert any(name.endswith(".js") for name in named)
    assert [name for name in named if not (STATIC / name).is_file()] == []


def test_no_asset_is_left_over_from_an_older_build(start_page):
    text = start_page + "".join(path.read_text() for path in STATIC.rglob("*.js"))
    assert [path.name for path in (STATIC / "assets").iterdir() if path.name not in text] == []


def test_scripts_stay_small(start_page, record_property):
    first = [STATIC / name for name in re.findall(r'(?:src|href)="/([^"]+\.js)"', start_page)]
    raw = sum(path.stat().st_size for path in first)
    packed = sum(len(gzip.compress(path.read_bytes())) for path in first)
    record_property("first_view_bytes", raw)
    record_property("first_view_gzip_bytes", packed)
    assert (raw <= FIRST_VIEW_LIMIT, packed <= FIRST_VIEW_GZIP_LIMIT) == (True, True), (raw, packed)
    pages = {path.name: path.stat().st_size for path in STATIC.rglob("*.js") if path not in first}
    assert {name: size for name, size in pages.items() if size > PAGE_LIMIT} == {}


def test_the_start_page_obeys_the_content_policy(start_page):
    assert re.findall(r"<script(?![^>]*\bsrc=)", start_page) == []
    assert re.findall(r"\son\w+=", start_page) == []


def test_nothing_is_loaded_from_another_host(start_page):
    styles = "".join(path.read_text() for path in STATIC.rglob("*.css"))
    assert re.findall(r'(?:src|href)="(?:https?:)?//', start_page) == []
    assert re.findall(r"url\(\s*['\"]?(?:https?:)?//|@import", styles) == []


def test_the_lock_file_names_no_private_registry():
    lock = (WEB / "package-lock.json").read_text()
    hosts = set(re.findall(r'"resolved": "(https?://[^/]+)', lock))
    assert hosts <= {"https://registry.npmjs.org"}
    assert '"integrity": "sha512-' in lock
