"""Evaluation of attributions: localisation, faithfulness, robustness, complexity, completeness, with intervals."""

from services.model.attribution.evaluation.complexity import (
    COMPLEXITY,
    completeness_gap,
    effective_complexity,
    entropy,
    gini,
)
from services.model.attribution.evaluation.faithfulness import (
    abpc,
    deletion,
    faithfulness_correlation,
    infidelity,
    insertion,
    pixel_flipping,
    sensitivity_n,
)
from services.model.attribution.evaluation.intervals import Interval, interval, paired_interval
from services.model.attribution.evaluation.localisation import (
    LOCALISATION,
    attribution_localisation,
    auc,
    focus,
    mass_accuracy,
    pointing_game,
    rank_accuracy,
    top_k_intersection,
)
from services.model.attribution.evaluation.maps import patch_maps, patch_masks, pixel_maps
from services.model.attribution.evaluation.perturbation import Scorer, area, blurred, curve
from services.model.attribution.evaluation.robustness import average_sensitivity, max_sensitivity, noise_stability

__all__ = [
    "COMPLEXITY", "LOCALISATION", "Interval", "Scorer", "abpc", "area", "attribution_localisation", "auc",
    "average_sensitivity", "blurred", "completeness_gap", "curve", "deletion", "effective_complexity", "entropy",
    "faithfulness_correlation", "focus", "gini", "infidelity", "insertion", "interval", "mass_accuracy",
    "max_sensitivity", "noise_stability", "paired_interval", "patch_maps", "patch_masks", "pixel_flipping",
    "pixel_maps", "pointing_game", "rank_accuracy", "sensitivity_n", "top_k_intersection",
]  # fmt: skip
