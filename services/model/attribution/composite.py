"""A composite says which rule governs which operation: by kind of operation, layer name, layer type and call index."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from services.model.attribution import policies, rules
from services.model.attribution.errors import BadComposite
from services.model.attribution.policies import Attention, Average, Gate, Norm, Residual
from services.model.attribution.risk import Risk
from services.model.attribution.rules import STABILISER, AffineRule, Epsilon

Kind = Literal["linear", "conv", "values", "attention", "residual", "gate", "norm", "average", "batchnorm"]
Rule = AffineRule | Attention | Residual | Gate | Norm | Average
Carrier = Literal["relevance", "gradient", "gradient_x_input"]

FITTING: dict[str, type] = {
    "linear": AffineRule, "conv": AffineRule, "values": AffineRule, "batchnorm": AffineRule, "attention": Attention,
    "residual": Residual, "gate": Gate, "norm": Norm, "average": Average,
}  # fmt: skip
DEFAULTS: dict[str, Rule] = {
    "linear": Epsilon(), "conv": Epsilon(), "values": Epsilon(), "batchnorm": Epsilon(), "attention": Attention(),
    "residual": Residual(), "gate": Gate(), "norm": Norm(), "average": Average(),
}  # fmt: skip
NAMED: dict[str, type] = {
    each.__name__: each
    for module in (rules, policies)
    for each in vars(module).values()
    if isinstance(each, type) and dataclasses.is_dataclass(each) and issubclass(each, tuple(set(FITTING.values())))
    and each is not AffineRule
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """Where an operation was met.

    kind : of operation; layer, type : name and class name of the innermost module around it ("" outside of all);
    index : how many of this kind ran before it; affine : how many linear or conv operations ran before it.
    """

    kind: str
    layer: str
    type: str
    index: int
    affine: int


@dataclass(frozen=True)
class Assignment:
    """A rule and where it holds; what is not said holds everywhere.

    Parameters
    ----------
    rule : a rule that fits the kind.
    kind : one kind of operation, or several; None is linear and conv for affine rules, else the kind that it fits.
    layer : a name or shell pattern of `model.named_modules()` (`blocks.0.*`); the innermost module around the call.
    type : its class name or a shell pattern of one (`*Attention`).
    calls : indices of the operation among those of its kind, in order of execution.
    first : only the first linear or conv operation of the forward pass.
    """

    rule: Rule
    kind: Kind | tuple[Kind, ...] | None = None
    layer: str = "*"
    type: str = "*"
    calls: tuple[int, ...] | None = None
    first: bool = False

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in FITTING:
                raise BadComposite(f"{kind!r} is no kind of operation", field="kind", kinds=list(get_args(Kind)))
            if not isinstance(self.rule, FITTING[kind]):
                raise BadComposite(f"{type(self.rule).__name__} does not fit {kind!r}", field="rule", kind=kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it speaks about."""
        if self.kind is None:
            fitting = tuple(kind for kind, base in FITTING.items() if isinstance(self.rule, base))
            return tuple(kind for kind in fitting if kind in ("linear", "conv")) or fitting
        return (self.kind,) if isinstance(self.kind, str) else tuple(self.kind)

    def governs(self, call: Call) -> bool:
        """Whether it holds for this call."""
        return (
            call.kind in self.kinds
            and (self.calls is None or call.index in self.calls)
            and (not self.first or call.affine == 0)
            and fnmatchcase(call.layer, self.layer)
            and fnmatchcase(call.type, self.type)
        )


@dataclass(frozen=True)
class Composite:
    """Assignments, the first that governs a call wins; after them the defaults (eps everywhere, CP-LRP attention).

    `carrier` is what travels backward: relevance, or plain gradients for the two gradient methods. `eps` stabilises the
    divisions that no rule of its own governs: sums with constants, products of two signals.
    """

    assignments: tuple[Assignment, ...] = ()
    carrier: Carrier = "relevance"
    eps: float = STABILISER
    aim: str = field(default="", compare=False)

    def rule(self, call: Call) -> Rule:
        """The rule of a call."""
        for assignment in self.assignments:
            if assignment.governs(call):
                return assignment.rule
        return DEFAULTS[call.kind]

    def risks(self) -> tuple[Risk, ...]:
        """Risk attitudes in use: they need noisy forward passes first."""
        return tuple(
            each.rule.risk for each in self.assignments if isinstance(each.rule, AffineRule) and each.rule.risk
        )

    @classmethod
    def from_yaml(cls, text: str | Path) -> Composite:
        """Read a composite: a list of assignments under `rules`, see docs/attribution.md.

        Raises
        ------
        BadComposite : not YAML of this shape; unknown rule, parameter or kind, with the closest names.
        """
        import yaml

        content = text.read_text() if isinstance(text, Path) else text
        try:
            document = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise BadComposite(f"not YAML: {error}", field="rules") from error
        entries = document.get("rules") if isinstance(document, Mapping) else None
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise BadComposite("a composite is a mapping with a list under `rules`", field="rules")
        return cls(tuple(_assignment(entry, f"rules[{index}]") for index, entry in enumerate(entries)))


def _assignment(entry: object, place: str) -> Assignment:
    if not isinstance(entry, Mapping) or "rule" not in entry:
        raise BadComposite(f"{place} is not a mapping with a `rule`", field=place)
    content = dict(entry)
    name = content.pop("rule")
    where = {key: content.pop(key) for key in ("kind", "layer", "type", "calls", "first") if key in content}
    for key in ("kind", "calls"):
        if isinstance(where.get(key), list):
            where[key] = tuple(where[key])
    if name not in NAMED:
        close = get_close_matches(str(name), NAMED, n=3, cutoff=0.4)
        raise BadComposite(f"{place}: unknown rule {name!r}", field=f"{place}.rule", closest=close)
    if isinstance(content.get("risk"), Mapping):
        content["risk"] = _built(Risk, dict(content["risk"]), f"{place}.risk")
    return Assignment(_built(NAMED[name], content, place), **where)


def _built(kind: type, parameters: dict[str, object], place: str):
    known = {each.name for each in dataclasses.fields(kind)} - {"deviation"}
    for key in parameters:
        if key not in known:
            close = get_close_matches(key, known, n=3, cutoff=0.3)
            raise BadComposite(f"{place}: {kind.__name__} has no parameter {key!r}", field=place, closest=close)
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise BadComposite(f"{place}: {error}", field=place) from error
