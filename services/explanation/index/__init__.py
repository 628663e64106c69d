"""The search index: immutable generations of unit vectors, exact until size forbids it."""
