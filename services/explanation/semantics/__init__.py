"""What components mean: examples, vectors, prototypes, metrics and their nulls. Arrays in, arrays out."""
