"""Names for components and how far they can be trusted: arrays in, arrays out."""
