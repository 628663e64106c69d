"""Named composites. Each says what it aims at; whether it gets there is measured in benchmarks, not claimed here."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from services.model.attribution.composite import DEFAULTS, Assignment, Composite, Kind, Rule
from services.model.attribution.errors import UnknownComposite
from services.model.attribution.policies import Attention, Average, Norm, Residual
from services.model.attribution.risk import Risk
from services.model.attribution.rules import (
    AffineRule,
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Magnitude,
    StakeCap,
    WSquare,
    ZBox,
    ZPlus,
)

AFFINE: tuple[Kind, ...] = ("linear", "conv", "batchnorm")
CONV: tuple[Kind, ...] = ("conv", "batchnorm")
ATTNLRP = Attention(0.5, 0.25, 0.25)


def _everywhere(rule: Rule, *more: Assignment, aim: str) -> Composite:
    return Composite((*more, Assignment(rule, kind=AFFINE)), aim=aim)


def _convolutions(rule: Rule, *more: Assignment, aim: str) -> Composite:
    return Composite((*more, Assignment(rule, kind=CONV), Assignment(Epsilon(), kind="linear")), aim=aim)


def _attention(policy: Attention, rule: Rule | None = None, *more: Assignment, aim: str) -> Composite:
    affine = () if rule is None else (Assignment(rule, kind=AFFINE),)
    return Composite((*more, Assignment(policy, kind="attention"), *affine), aim=aim)


COMPOSITES: dict[str, Composite] = {
    "gradient": Composite(carrier="gradient", aim="sensitivity of the score"),
    "gradient_x_input": Composite(carrier="gradient_x_input", aim="first-order contribution"),
    "lrp0": Composite(
        (
            Assignment(Epsilon(0.0), kind=("linear", "conv", "batchnorm", "values")),
            *map(Assignment, (Residual(eps=0.0), Norm(eps=0.0), Average(eps=0.0))),
        ), eps=0.0,
        aim="gradient x input for ReLU networks",
    ),
    "epsilon": _everywhere(Epsilon(), aim="LRP-0, made stable"),
    "gamma": _everywhere(Gamma(gamma=0.25), aim="less noise than eps"),
    "zplus": _everywhere(ZPlus(), aim="positive evidence only"),
    "alpha2_beta1": _everywhere(AlphaBeta(alpha=2.0, beta=1.0), aim="evidence for and against, in fixed stakes"),
    "magnitude": _everywhere(Magnitude(), aim="no mass is ever created"),
    "flat": _everywhere(Flat(), aim="the network's receptive fields"),
    "wsquare": _everywhere(WSquare(), aim="weights without inputs"),
    "epsilon_plus": _convolutions(ZPlus(), aim="CNNs: eps in dense layers, z+ in convolutions"),
    "epsilon_plus_flat": _convolutions(
        ZPlus(), Assignment(Flat(), kind=("linear", "conv"), first=True),
        aim="CNNs: as epsilon_plus, even spread in the first layer",
    ),
    "epsilon_gamma": _convolutions(Gamma(gamma=0.25), aim="CNNs: eps in dense layers, gamma in convolutions"),
    "epsilon_gamma_box": _convolutions(
        Gamma(gamma=0.25), Assignment(ZBox(-3.0, 3.0), kind=("linear", "conv"), first=True),
        aim="CNNs: as epsilon_gamma, bounded pixels (in [-3, 3]) in the first layer",
    ),
    "epsilon_alpha2_beta1": _convolutions(AlphaBeta(), aim="CNNs: eps in dense layers, alpha 2 beta 1 in convolutions"),
    "epsilon_alpha2_beta1_flat": _convolutions(
        AlphaBeta(), Assignment(Flat(), kind=("linear", "conv"), first=True),
        aim="CNNs: as epsilon_alpha2_beta1, even spread in the first layer",
    ),
    "cp_lrp": _attention(Attention(), aim="transformers: attention weights are constants"),
    "attnlrp": _attention(ATTNLRP, aim="transformers: relevance also through queries and keys"),
    "cp_gamma": _attention(Attention(), Gamma(gamma=1.0), aim="transformers: CP-LRP with less noise"),
    "attnlrp_gamma": _attention(ATTNLRP, Gamma(gamma=0.25), aim="transformers: AttnLRP with less noise"),
    "cp_focused": _attention(
        Attention(), Gamma(gamma=2.0),
        Assignment(AlphaBeta(alpha=1.0, beta=0.0, temperature=0.7), kind="conv", first=True),
        Assignment(StakeCap(cap=1.5), kind=CONV), Assignment(Gamma(gamma=5.0), kind="values"),
        aim="transformers: localisation; settings searched on generated scenes",
    ),
    "cp_plus_abs": _attention(
        Attention(), ZPlus(), Assignment(Residual("abs"), kind="residual"),
        aim="transformers: positive evidence, skips by magnitude",
    ),
    "stake_cap": _everywhere(StakeCap(cap=2.0), aim="stability where z is near 0 (bounded path mass)"),
    "sharp": _everywhere(AlphaBeta(alpha=1.0, beta=0.0, temperature=0.5), aim="localisation focus"),
    "soft": _everywhere(AlphaBeta(alpha=1.0, beta=0.0, temperature=2.0), aim="smoothness"),
    "risk_averse": _everywhere(
        AlphaBeta(alpha=1.0, beta=0.0, risk=Risk("deviation", 1.0)), aim="robustness to input noise"
    ),
    "anchored": _attention(
        Attention(mix=0.25), Gamma(gamma=1.0), aim="transformers: stable attention routing (mean attention as prior)"
    ),
    "head_gate": _attention(Attention(head_temperature=0.5), Gamma(gamma=1.0), aim="transformers: fewer noisy heads"),
}  # fmt: skip


def composite(name: str) -> Composite:
    """The composite of this name.

    Raises
    ------
    UnknownComposite : with the closest names.
    """
    if name not in COMPOSITES:
        raise UnknownComposite(
            f"no composite is called {name!r}",
            field="rule",
            closest=get_close_matches(name, COMPOSITES, n=3, cutoff=0.3) or sorted(COMPOSITES),
        )
    return COMPOSITES[name]


def without_biases(chosen: Composite) -> Composite:
    """The same rules with biases left out of the pools, so that they absorb nothing, wherever no rule is named too."""

    def free(rule: Rule) -> Rule:
        return replace(rule, use_bias=False) if isinstance(rule, AffineRule) else rule

    own = (replace(each, rule=free(each.rule)) for each in chosen.assignments)
    others = (Assignment(free(rule), kind=kind) for kind, rule in DEFAULTS.items() if isinstance(rule, AffineRule))
    return replace(chosen, assignments=(*own, *others))
