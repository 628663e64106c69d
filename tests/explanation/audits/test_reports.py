"""Reports hold what users wrote as text, whatever it is."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import yaml

from contracts.audit import (
    Audit,
    AuditCalibration,
    AuditCheck,
    AuditFinding,
    AuditPolicy,
    ClassPolicy,
    ConceptTest,
    SignOff,
)
from contracts.errors import CorruptArtifact
from contracts.snapshots import Example
from services.explanation.audits.draft import CLASS, quoted
from services.explanation.audits.report import html_report, junit_report

HOSTILE = "</td><script>alert('x')</script>\"&\x0b<img src=x onerror=y>\U0001f600"
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def audit(text, *, passed=False):
    test = ConceptTest(concept=text, kind="spurious", alignment=0.25, z=7.0, p=1e-6, q=0.001)
    finding = AuditFinding(
        readout=text, layer=text, index=3, sign=-1, verdict="spurious", share=0.5, relevance=-1.0, effect=None,
        clarity=0.5, clarity_z=None, n_valid=20, distinct=9, tests=[test],
        examples=[Example(sample=n, label=text, activation=1.0) for n in (4, 5)],
    )  # fmt: skip
    check = AuditCheck(readout=text, layer=text, rule="spurious", components=1, share=0.5, limit=0.05, passed=passed)
    return Audit(
        id="a_0123456789abcdef", snapshot=text, snapshot_name=text, model=text, dataset="d", encoder=text,
        policy=AuditPolicy(classes={text: ClassPolicy(spurious=[text])}), policy_sha256="a" * 64, layers=[text],
        templates=["{}"], passed=passed, checks=[check, check.model_copy(update={"rule": "forbidden", "passed": True})],
        readouts=[], findings=[finding], lineage="l", created_at=NOW,
        calibration=AuditCalibration(
            tests=9, background=1000, pool=5000, smallest_p=2e-4, resolution_limited=True, needed=3
        ),
        sign_offs=[SignOff(number=1, user=text, verdict="rejected", note=text, signed_at=NOW)],
    )  # fmt: skip


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def thumbnail(sample):
    if sample == 5:
        raise CorruptArtifact("its pack is gone")
    return b"RIFFwebp"


def test_what_users_wrote_is_text_on_the_page_and_never_markup():
    page = Tags()
    page.feed(html_report(audit(HOSTILE), thumbnail))
    assert {tag for tag, _ in page.tags} == {
        "html", "meta", "title", "style", "h1", "h2", "span", "p", "small", "table", "tr", "th", "td", "img",
    }  # fmt: skip
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert [attributes["src"][:23] for tag, attributes in page.tags if tag == "img"] == ["data:image/webp;base64,"]
    assert "".join(page.text).count("alert('x')") >= 6


def test_the_page_says_what_is_damaged_and_when_resolution_is_limited():
    page = html_report(audit("a tag"), thumbnail)
    assert "#5 is damaged" in page and "at least 3 pairs must reach it together" in page
    assert page.index("violated") < page.index("holds")


def test_the_junit_report_is_xml_whatever_users_wrote():
    report = ElementTree.fromstring(junit_report(audit(HOSTILE)).encode())
    assert report.attrib == {"tests": "2", "failures": "1"}
    (failure,) = report.iter("failure")
    told = HOSTILE.replace("\x0b", "")
    assert told in failure.text and "1 spurious components carry 0.5000" in failure.attrib["message"]
    assert report.find(".//testcase").attrib["classname"] == f"a_0123456789abcdef.{told}"
    passed = ElementTree.fromstring(junit_report(audit("a", passed=True)).encode())
    assert passed.attrib["failures"] == "0" and not list(passed.iter("failure"))


@pytest.mark.parametrize("name", [HOSTILE.replace("\x0b", ""), "yes", "- 1", "a: b", "tabby\ncat", "ünï \\ #x"])
def test_the_draft_quotes_any_class_name(name):
    read = yaml.safe_load("classes:\n" + CLASS.format(name=quoted(name), valid=quoted(f"a {name}")))
    assert read == {"classes": {name: {"valid": [f"a {name}"]}}}
