"""Sparse autoencoders: training on two cores, checkpoints, figures, and exchange with SAELens."""
