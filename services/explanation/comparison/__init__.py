"""Snapshots as wholes: their maps, how alike they are, what drifted between two of them."""
