"""From scores of steered texts to what is published: rates with intervals, the front, windows, held-out gains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from contracts.attribution_evaluation import Spread
from contracts.steering_evaluation import (
    HeldOutGain,
    NoWindow,
    SteeredText,
    SteeringArm,
    SteeringArmName,
    SteeringEvaluationRequest,
    SteeringSetting,
    StrengthWindow,
)
from services.explanation.atlas.steering_scores import alpha_window, pareto

DRAWS = 1000
LEAST_FLUENT = 0.75  # of the unsteered fluency
SHOWN = 2  # texts of an arm and concept
Place = tuple[str, float | None]  # arm and strength


@dataclass(frozen=True)
class Scores:
    """Scores of every text.

    Attributes
    ----------
    settings : arm, strength, layer and role of each. values : name -> [concepts, settings, prompts, samples].
    """

    settings: Sequence[Mapping[str, object]]
    values: Mapping[str, np.ndarray]
    seed: int

    @property
    def places(self) -> dict[Place, list[int]]:
        """Arm and strength -> numbers of their settings, several for random directions."""
        found: dict[Place, list[int]] = {}
        for number, one in enumerate(self.settings):
            strength = one["strength"]
            place = str(one["arm"]), None if strength is None else float(cast(float, strength))
            found.setdefault(place, []).append(number)
        return found

    def cells(self, name: str, place: Place, prompts: slice = slice(None)) -> np.ndarray:
        """Means over samples and directions, a number a concept and prompt: [concepts * prompts]."""
        some = self.values[name][:, self.places[place]][:, :, prompts]
        return np.asarray(some.mean(axis=(1, 3))).reshape(-1)

    def rates(self, place: Place, prompts: slice = slice(None), least: int = 1) -> np.ndarray:
        """Share of texts with a concept score of at least `least`, as `cells`."""
        some = self.values["concept"][:, self.places[place]][:, :, prompts] >= least
        return np.asarray(some.mean(axis=(1, 3))).reshape(-1)


def spread(cells: np.ndarray, seed: int) -> Spread:
    """Mean with the 95 % percentile bootstrap over concepts and prompts."""
    draws = np.random.default_rng(seed).integers(0, len(cells), (DRAWS, len(cells)))
    low, high = np.quantile(cells[draws].mean(axis=1), [0.025, 0.975])
    return Spread(mean=float(cells.mean()), low=float(low), high=float(high))


def settings_of(scores: Scores) -> list[SteeringSetting]:
    """The figures of every arm and strength; which of them nothing beats in both rate and fluency."""
    none: Place = ("none", None)
    base, calm = scores.rates(none), float(scores.cells("fluency", none).mean())
    places = list(scores.places)
    rates = {place: scores.rates(place) for place in places}
    fluent = {place: scores.cells("fluency", place) for place in places}
    front = pareto(
        np.array([rates[place].mean() for place in places]), np.array([fluent[place].mean() for place in places])
    )
    found = []
    for number, place in enumerate(places):
        chosen = scores.values["perplexity"][:, scores.places[place]]
        finite = chosen[np.isfinite(chosen)]
        found.append(
            SteeringSetting(
                arm=cast(SteeringArmName, place[0]), strength=place[1], n=int(chosen.size),
                rate=spread(rates[place], scores.seed),
                gain=None if place == none else spread(rates[place] - base, scores.seed),
                clearly=float(scores.rates(place, least=2).mean()), fluency=spread(fluent[place], scores.seed),
                fluency_share=float(fluent[place].mean()) / calm if calm > 0 else None,
                relevance=float(scores.cells("relevance", place).mean()),
                total=float(scores.cells("total", place).mean()),
                perplexity=float(np.median(finite)) if len(finite) else None,
                distinct=float(scores.cells("distinct", place).mean()),
                repeated=float(scores.cells("repeated", place).mean()), front=bool(front[number]),
            )
        )  # fmt: skip
    return found


def arms_of(scores: Scores) -> list[SteeringArm]:
    """Each arm's window, and its gain on prompts that did not choose the strength."""
    found = []
    for arm in dict.fromkeys(str(one["arm"]) for one in scores.settings if one["arm"] != "none"):
        strengths = sorted(place[1] for place in scores.places if place[0] == arm and place[1] is not None)
        window, missing = window_of(scores, arm, strengths)
        layer = next(one["layer"] for one in scores.settings if one["arm"] == arm)
        found.append(
            SteeringArm(
                arm=cast(SteeringArmName, arm), layer=None if layer is None else str(layer), window=window,
                no_window=missing, held_out=held_out(scores, arm, strengths or [None]),
            )
        )  # fmt: skip
    return found


def window_of(scores: Scores, arm: str, strengths: Sequence[float]) -> tuple[StrengthWindow | None, NoWindow | None]:
    """The recommended strengths of an arm, or why there are none."""
    if not strengths:
        return None, NoWindow(reason="no_strengths", detail="this arm has no strength to choose")
    rate = np.array([scores.rates((arm, one)).mean() for one in strengths])
    fluent = np.array([scores.cells("fluency", (arm, one)).mean() for one in strengths])
    base = float(scores.rates(("none", None)).mean())
    if float(rate.max()) <= base:
        return None, NoWindow(
            reason="no_gain", detail=f"the concept rate never exceeds the {base:.2f} of unsteered text"
        )
    found = alpha_window(np.asarray(strengths), rate, fluent, base)
    if found is None:
        enough = rate >= base + (rate.max() - base) / 2
        best = float(fluent[enough].max())
        return None, NoWindow(
            reason="not_fluent", detail=f"where half of the best gain is reached, fluency is at most {best:.2f} of 2"
        )
    return StrengthWindow(low=found.low, high=found.high, octaves=found.log2_width), None


def held_out(scores: Scores, arm: str, strengths: Sequence[float | None]) -> HeldOutGain | None:
    """Choose the strength on even prompts, and report it on odd ones; None if no strength keeps the fluency."""
    none: Place = ("none", None)
    tune, rest = slice(0, None, 2), slice(1, None, 2)
    calm = float(scores.cells("fluency", none, tune).mean())
    kept = [one for one in strengths if scores.cells("fluency", (arm, one), tune).mean() >= LEAST_FLUENT * calm]
    if not kept:
        return None
    best = max(kept, key=lambda one: float(scores.rates((arm, one), tune).mean()))
    rate, base = scores.rates((arm, best), rest), scores.rates(none, rest)
    clearly, before = (float(scores.rates(place, rest, least=2).mean()) for place in ((arm, best), none))
    fluent, unsteered = (float(scores.cells("fluency", place, rest).mean()) for place in ((arm, best), none))
    return HeldOutGain(
        strength=best, rate=spread(rate, scores.seed), gain=spread(rate - base, scores.seed),
        fluency_share=fluent / unsteered if unsteered > 0 else None,
        faithful=None if before >= 1 else max(0.0, clearly - before) / (1 - before),
    )  # fmt: skip


def shown_texts(
    scores: Scores, arms: Sequence[SteeringArm], request: SteeringEvaluationRequest,
    texts: Callable[[int, str], list[str]],
) -> list[SteeredText]:  # fmt: skip
    """The first texts of each arm and concept on held-out prompts, at the strength that was chosen; unsteered first."""
    chosen: list[Place] = [("none", None)]
    chosen += [(one.arm, one.held_out.strength) for one in arms if one.held_out is not None]
    found = []
    for place in chosen:
        number = scores.places[place][0]
        role = str(scores.settings[number]["role"])
        for at, concept in enumerate(request.concepts):
            written = texts(at, role)
            for prompt in range(1, min(2 * SHOWN, len(request.prompts)), 2):
                found.append(
                    SteeredText(
                        arm=cast(SteeringArmName, place[0]), strength=place[1], concept=concept.name,
                        prompt=request.prompts[prompt], text=written[prompt * request.samples],
                        score=int(scores.values["concept"][at, number, prompt, 0]),
                        fluency=int(scores.values["fluency"][at, number, prompt, 0]),
                    )
                )  # fmt: skip
    return found
