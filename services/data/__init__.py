"""The data service: datasets, samples, pictures."""
