"""The model service: registered models, their layers, and what happens inside them."""
