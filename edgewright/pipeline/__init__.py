"""The workshop: files and arrays in, files and frozen dataclasses out."""
