"""Export, one file format a file."""
