"""Candidate names from a vision-language model: grids, the port and its adapters, and the stages."""
