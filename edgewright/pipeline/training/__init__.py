"""Training, one framework a file."""
