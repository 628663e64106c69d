"""Backward attribution."""
