"""Architectures that recipes name."""
