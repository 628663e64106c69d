"""Policies as YAML text: read with the line of every value, so that a refusal can point at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

import yaml
from pydantic import JsonValue, ValidationError

from contracts.audit import AuditPolicy, BadPolicy

Path = tuple[str | int, ...]
KINDS = ("valid", "spurious", "forbidden")
DEEPEST = 12


@dataclass(frozen=True)
class Policy:
    """A policy that is consistent in itself, and the line of each of its values where it came as text."""

    policy: AuditPolicy
    lines: Mapping[Path, int] = field(default_factory=dict)

    def refused(self, detail: str, *path: str | int, **facts: JsonValue) -> BadPolicy:
        """Make the refusal of the value at a path."""
        return refused(detail, path, self.lines, **facts)


def refused(detail: str, path: Path, lines: Mapping[Path, int], **facts: JsonValue) -> BadPolicy:
    """Make a refusal that names the line of a path, or of the nearest thing around it."""
    line = next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), None)
    where = "" if line is None else f"line {line}: "
    return BadPolicy(f"{where}{detail}", field=".".join(str(step) for step in path) or None, line=line, **facts)


def parse_policy(text: str) -> Policy:
    """Read a policy from YAML text.

    Raises
    ------
    BadPolicy : unreadable text, a repeated or unknown key, an anchor, a value of the wrong kind, an empty list, or a
        concept on two lists; with the line.
    """
    lines: dict[Path, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        told = None if node is None else _plain(node, (), lines, set())
    except yaml.YAMLError as error:
        raise _unreadable(error) from error
    except RecursionError as error:
        raise BadPolicy("the text is nested too deeply", line=None) from error
    if not isinstance(told, dict):
        raise BadPolicy("line 1: a policy is a mapping with the key `classes`", line=1)
    for path, value in _lists(told, ()):
        if not value:
            raise refused("this list is empty: name a concept, or take the key away", path, lines)
    try:
        policy = AuditPolicy.model_validate(told)
    except ValidationError as error:
        raise _invalid(error, lines) from error
    return checked(policy, lines)


def checked(policy: AuditPolicy, lines: Mapping[Path, int] | None = None) -> Policy:
    """Check what no type can say.

    Raises
    ------
    BadPolicy : a class without concepts to test, or a concept on two lists, also in another spelling.
    """
    known = Policy(policy, lines or {})
    for name, told in policy.classes.items():
        seen: dict[str, str] = {}
        lists = [(kind, place, concept) for kind in KINDS for place, concept in enumerate(getattr(told, kind))]
        for kind, place, concept in lists:
            _once(known, seen, concept, kind, ("classes", name, kind, place))
        for place, concept in enumerate(policy.forbidden):
            _once(known, seen, concept, "forbidden", ("forbidden", place), of=name)
        if not seen:
            raise known.refused(f"{name} has no concept", "classes", name)
    return known


def _once(known: Policy, seen: dict[str, str], concept: str, kind: str, path: Path, of: str | None = None) -> None:
    same = normalised(concept)
    if not same:
        raise known.refused(f"{concept!r} has no letters", *path)
    if seen.get(same, kind) != kind:
        about = "" if of is None else f" for {of}"
        raise known.refused(f"{concept!r} is both {seen[same]} and {kind}{about}", *path, concept=concept)
    seen[same] = kind


def normalised(concept: str) -> str:
    """Case, white space and underscores do not make another concept."""
    return " ".join(concept.replace("_", " ").split()).casefold()


def _plain(node: yaml.Node, path: Path, lines: dict[Path, int], seen: set[int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return yaml.SafeLoader("").construct_object(node)  # type: ignore[no-untyped-call]
    if id(node) in seen:
        raise refused("anchors and aliases are not read: write it out", path, lines)
    if len(path) > DEEPEST:
        raise refused("this is nested too deeply", path, lines)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, place), lines, seen) for place, item in enumerate(node.value)]
    told: dict[str, Any] = {}
    for key, value in cast(yaml.MappingNode, node).value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            raise BadPolicy(f"line {key.start_mark.line + 1}: a key is one word", line=key.start_mark.line + 1)
        if name in told:
            twice = {(): key.start_mark.line + 1}
            raise refused(f"the key {name} is there twice", (*path, name), twice)
        lines[(*path, name)] = key.start_mark.line + 1
        told[name] = _plain(value, (*path, name), lines, seen)
    return told


def _lists(told: Any, path: Path) -> list[tuple[Path, list[Any]]]:
    if isinstance(told, dict):
        return [found for name, value in told.items() for found in _lists(value, (*path, name))]
    return [(path, told)] if isinstance(told, list) else []


def _unreadable(error: yaml.YAMLError) -> BadPolicy:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = None if mark is None else mark.line + 1
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "no YAML"
    return BadPolicy(f"{'' if line is None else f'line {line}: '}cannot be read: {problem}", line=line)


def _invalid(error: ValidationError, lines: Mapping[Path, int]) -> BadPolicy:
    first = error.errors()[0]
    path = tuple(step for step in first["loc"] if step != "[key]")
    if first["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        closest = get_close_matches(str(path[-1]), known, n=3, cutoff=0.4)
        return refused(f"there is no key {path[-1]}", path, lines, closest=list[JsonValue](closest or known))
    name = ".".join(str(step) for step in path)
    return refused(f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}", path, lines)


def _keys_at(path: Path) -> list[str]:
    from contracts.audit import AuditLimits, ClassPolicy

    if path[:1] == ("classes",) and len(path) == 2:
        return list(ClassPolicy.model_fields)
    return list(AuditLimits.model_fields if path == ("limits",) else AuditPolicy.model_fields)
