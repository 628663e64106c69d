"""Comparisons of representations: stages from stored features to a published comparison, and its questions."""
