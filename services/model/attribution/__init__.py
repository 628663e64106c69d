"""Backward attribution: gradients, the LRP family and transformer rules as policies on one signed kernel."""

from services.model.attribution.composite import Assignment, Composite
from services.model.attribution.composites import COMPOSITES, composite
from services.model.attribution.conditions import edge_graph
from services.model.attribution.engine import attribute
from services.model.attribution.policies import Attention, Average, Gate, Norm, Residual
from services.model.attribution.result import Attribution, Condition, Diagnostics, Edge, EdgeGraph
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
from services.model.attribution.sampler import Plays, Step, sample_plays

__all__ = [
    "COMPOSITES", "AffineRule", "AlphaBeta", "Assignment", "Attention", "Attribution", "Average", "Composite",
    "Condition", "Diagnostics", "Edge", "EdgeGraph", "Epsilon", "Flat", "Gamma", "Gate", "Magnitude", "Norm",
    "Plays", "Residual", "Risk", "StakeCap", "Step", "WSquare", "ZBox", "ZPlus", "attribute", "composite",
    "edge_graph", "sample_plays",
]  # fmt: skip
