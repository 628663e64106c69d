"""An audit as one page that needs nothing else, and as JUnit XML. Whatever comes from users is escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from xml.sax.saxutils import quoteattr

from contracts.audit import Audit, AuditCheck, AuditFinding
from contracts.errors import XsysError

Thumbnail = Callable[[int], bytes]
MOST_FINDINGS = 200
MOST_PICTURES = 6
ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left;
vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}small{color:#555}
img{width:56px;height:56px;object-fit:cover;margin-right:2px}.fail{color:#b00020;font-weight:600}.pass{color:#1a6b2a}
"""


def html_report(audit: Audit, thumbnail: Thumbnail) -> str:
    """Write the page; there is no script in it.

    Parameters
    ----------
    thumbnail : sample -> WebP bytes; pictures are written into the page once each.
    """
    shown = audit.findings[:MOST_FINDINGS]
    pictures = {
        example.sample: _picture(thumbnail, example.sample)
        for finding in shown
        for example in finding.examples[:MOST_PICTURES]
    }
    state = "pass" if audit.passed else "fail"
    outcome = "passed" if audit.passed else "failed"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">',
        f"<title>Audit {audit.id}</title><style>{STYLE}</style>",
        f"<h1>Audit of {escape(audit.snapshot_name)}: <span class={state}>{outcome}</span></h1>",
        f"<p>{audit.calibration.tests:,} tests of components against concepts at a false-discovery rate of "
        f"{audit.policy.fdr:g}. <small>Audit {audit.id}, snapshot {escape(audit.snapshot)}, model "
        f"{escape(audit.model)}, encoder {escape(audit.encoder)}, policy {audit.policy_sha256}, "
        f"{audit.created_at:%Y-%m-%d %H:%M} UTC.</small></p>",
        _limited(audit),
        _signed(audit),
        "<h2>Limits</h2>",
        _checks(audit.checks),
        "<h2>Components</h2>",
        _findings(shown, pictures),
    ]
    if len(audit.findings) > len(shown):
        parts.append(f"<p>{len(audit.findings) - len(shown)} more are in the JSON export.</p>")
    parts.append(
        "<p><small>A component is named by what its strongest example pictures share in the encoder's space. What no "
        "concept of the policy describes is not tested: see the components marked unexpected.</small></p>"
    )
    return "\n".join(part for part in parts if part) + "\n</html>\n"


def _limited(audit: Audit) -> str:
    told = audit.calibration
    if not told.resolution_limited:
        return ""
    return (
        f"<p>The smallest attainable p is {told.smallest_p:.2g}: at least {told.needed} pairs must reach it together "
        "before any is flagged.</p>"
    )


def _signed(audit: Audit) -> str:
    rows = [
        [str(s.number), escape(s.verdict), escape(s.user), f"{s.signed_at:%Y-%m-%d %H:%M} UTC", escape(s.note)]
        for s in audit.sign_offs
    ]
    if not rows:
        return "<p>Nobody has signed this audit off.</p>"
    return "<h2>Decisions</h2>" + _table(["", "decision", "by", "at", "note"], rows, numbers=())


def _checks(checks: Sequence[AuditCheck]) -> str:
    ordered = sorted(checks, key=lambda check: check.passed)
    rows = [
        [
            f"<span class={'pass' if c.passed else 'fail'}>{'holds' if c.passed else 'violated'}</span>",
            escape(c.readout), escape(c.layer), escape(c.rule), str(c.components), f"{c.share:.3f}", f"{c.limit:g}",
        ]
        for c in ordered
    ]  # fmt: skip
    return _table(["", "class", "layer", "components that are", "n", "share", "limit"], rows, numbers=(4, 5, 6))


def _findings(findings: Sequence[AuditFinding], pictures: dict[int, str]) -> str:
    if not findings:
        return "<p>None is flagged.</p>"
    rows = [
        [
            escape(f.verdict), escape(f.readout), f"{escape(f.layer)} {f.index}{'' if f.sign > 0 else '−'}",
            f"{f.share:.3f}", _number(f.effect), _number(f.clarity), str(f.distinct), _tests(f),
            "".join(pictures[example.sample] for example in f.examples[:MOST_PICTURES]),
        ]
        for f in findings
    ]  # fmt: skip
    head = ["", "class", "component", "share", "effect", "clarity", "distinct", "concepts", "examples"]
    return _table(head, rows, numbers=(3, 4, 5, 6))


def _tests(finding: AuditFinding) -> str:
    return "<br>".join(
        f"{escape(t.concept)} <small>({escape(t.kind)}; cosine {t.alignment:.3f}, z {t.z:.1f}, q {t.q:.2g})</small>"
        for t in finding.tests
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _picture(thumbnail: Thumbnail, sample: int) -> str:
    try:
        data = base64.b64encode(thumbnail(sample)).decode()
    except XsysError:  # its pack is damaged: the page says so instead of failing
        return f"<small>#{sample} is damaged</small>"
    return f'<img src="data:image/webp;base64,{data}" alt="sample {sample}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int]) -> str:
    """A table; cells are HTML."""
    kind = [" class=n" if place in numbers else "" for place in range(len(head))]
    top = "".join(f"<th{how}>{escape(name)}</th>" for how, name in zip(kind, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{how}>{cell}</td>" for how, cell in zip(kind, row, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def junit_report(audit: Audit) -> str:
    """Write JUnit XML: a test case for each limit of each class in each layer."""
    failures = sum(not check.passed for check in audit.checks)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(audit.checks)}" failures="{failures}">',
        f'<testsuite name={_attribute(f"xsys audit {audit.snapshot_name}")} tests="{len(audit.checks)}" '
        f'failures="{failures}" errors="0" timestamp="{audit.created_at:%Y-%m-%dT%H:%M:%S}">',
    ]
    for check in audit.checks:
        name = _attribute(f"{check.layer}: {check.rule} share at most {check.limit:g}")
        lines.append(f"<testcase classname={_attribute(f'{audit.id}.{check.readout}')} name={name}>")
        if not check.passed:
            told = f"{check.components} {check.rule} components carry {check.share:.4f} of the relevance"
            named = [
                f"{f.layer} {f.index}{'' if f.sign > 0 else '-'}: {', '.join(t.concept for t in f.tests)}"
                for f in audit.findings
                if (f.readout, f.layer, f.verdict) == (check.readout, check.layer, check.rule)
            ]
            body = escape(_printable("\n".join([told, *named[:20]])))
            lines.append(f'<failure type="{check.rule}" message={_attribute(told)}>{body}</failure>')
        lines.append("</testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"


def _attribute(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
