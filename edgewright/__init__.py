"""edgewright takes a model from training data to the edge devices that run it, and keeps it honest on the way."""
