"""Quantization, one file format a file."""
