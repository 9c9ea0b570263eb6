"""The data sets that edgewright knows, one per file."""
