"""Pruning, one framework a file."""
