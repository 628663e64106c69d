"""Audits: what a class may rest on, held against what its components react to and how relevant they are."""
