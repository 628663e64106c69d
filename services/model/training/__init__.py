"""Layer-wise Feedback Propagation: training, pruning and spiking networks without gradients of activations."""

from services.model.training import rewards
from services.model.training.chords import Activation, Step, register_chord
from services.model.training.engine import LFP, Stats
from services.model.training.rewards import Reward

__all__ = ["LFP", "Activation", "Reward", "Stats", "Step", "register_chord", "rewards"]
