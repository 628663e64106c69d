"""Interventions on activations, for any torch model: declared, checked, applied by hooks, gone afterwards.

`steps_of` checks declared interventions and makes tensors of them, `steered` applies them to the forward passes of a
block; sequence models say by `Steering.at` which tokens a pass is about. docs/steering.md has examples.
"""

from services.model.interventions.hooks import Steering, median_norms, prepared, steered
from services.model.interventions.places import Frame
from services.model.interventions.steps import Step, steps_of, unit_vector

__all__ = ["Frame", "Steering", "Step", "median_norms", "prepared", "steered", "steps_of", "unit_vector"]
