"""Activation capture: hooks that pool on the spot and never keep a feature map."""
