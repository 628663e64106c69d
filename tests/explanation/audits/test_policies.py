"""A policy that cannot be used is refused with the line that has to change."""

import pytest

from contracts.audit import AuditPolicy, BadPolicy, ClassPolicy
from services.explanation.audits.policies import checked, parse_policy

GOOD = """\
version: 1
layers: [conv_head]
limits:
  spurious: 0.1
fdr: 0.01
classes:
  tabby cat:
    valid: [a cat, "whiskers"]
    spurious:
      - a sofa
forbidden: [a watermark]
"""
REFUSED = {
    "unreadable": ("classes:\n  cat: [a", 2, "cannot be read"),
    "tab": ("classes:\n\tcat: a", 2, "cannot be read"),
    "python object": ("classes: !!python/object/apply:os.system ['x']", 1, "classes"),
    "unknown key": (GOOD.replace("fdr: 0.01", "fdx: 0.01"), 5, "there is no key fdx"),
    "unknown key of a class": (GOOD.replace("    spurious:", "    spurius:"), 9, "there is no key spurius"),
    "unknown limit": (GOOD.replace("  spurious: 0.1", "  spurios: 0.1"), 4, "there is no key spurios"),
    "value out of range": (GOOD.replace("fdr: 0.01", "fdr: 7"), 5, "fdr: input should be less than"),
    "empty list": (GOOD.replace('[a cat, "whiskers"]', "[]"), 8, "empty"),
    "empty layers": (GOOD.replace("[conv_head]", "[]"), 2, "empty"),
    "concept twice": (GOOD.replace("- a sofa", "- A_Cat"), 10, "'A_Cat' is both valid and spurious"),
    "forbidden and valid": (GOOD.replace("a watermark", "a cat"), 11, "'a cat' is both valid and forbidden"),
    "repeated key": (GOOD + "fdr: 0.2\n", 12, "the key fdr is there twice"),
    "repeated class": (GOOD.replace("forbidden:", "  tabby cat: {valid: [x]}\nforbidden:"), 11, "there twice"),
    "alias": ("classes:\n  cat: &a {valid: [x]}\n  dog: *a\n", 3, "anchors"),
    "no concepts": (GOOD.replace("forbidden: [a watermark]", "  dog: {}"), 11, "dog has no concept"),
    "blank concept": (GOOD.replace("- a sofa", '- " _ "'), 10, "has no letters"),
    "a list": ("- a\n- b\n", 1, "mapping"),
    "nothing": ("# only a comment\n", 1, "mapping"),
    "no classes": ("version: 1\n", 1, "classes: field required"),
    "version": (GOOD.replace("version: 1", "version: 2"), 1, "version"),
    "two documents": (GOOD + "---\n" + GOOD, 12, "cannot be read"),
}


def test_a_policy_is_read_with_its_defaults():
    known = parse_policy(GOOD)
    assert known.policy.classes == {"tabby cat": ClassPolicy(valid=["a cat", "whiskers"], spurious=["a sofa"])}
    assert (known.policy.limits.spurious, known.policy.limits.forbidden, known.policy.fdr) == (0.1, 0.0, 0.01)
    assert (known.policy.samples, known.policy.over, known.policy.forbidden) == (64, "predicted", ["a watermark"])


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_its_line(case):
    text, line, told = REFUSED[case]
    with pytest.raises(BadPolicy) as refusal:
        parse_policy(text)
    assert refusal.value.facts["line"] == line, refusal.value.detail
    assert told in refusal.value.detail and f"line {line}: " in refusal.value.detail


def test_an_unknown_key_names_the_closest_ones():
    with pytest.raises(BadPolicy) as refusal:
        parse_policy(GOOD.replace("limits:", "limit:"))
    assert refusal.value.facts["closest"][0] == "limits" and refusal.value.field == "limit"


def test_deep_nesting_is_refused_and_does_not_end_the_process():
    with pytest.raises(BadPolicy):
        parse_policy("classes: " + "[" * 5000)
    with pytest.raises(BadPolicy):
        parse_policy("classes: " + "[" * 20 + "]" * 20)


def test_a_policy_without_text_is_checked_as_well_but_has_no_lines():
    told = AuditPolicy(classes={"cat": ClassPolicy(valid=["a cat"], spurious=["A  cat"])})
    with pytest.raises(BadPolicy) as refusal:
        checked(told)
    assert refusal.value.facts["line"] is None and refusal.value.field == "classes.cat.spurious.0"


def test_a_later_refusal_finds_the_line_too():
    known = parse_policy(GOOD)
    assert known.refused("no such class", "classes", "tabby cat").facts["line"] == 7
    assert known.refused("no such layer", "layers", 0).facts["line"] == 2
