"""What runs in which order, as Prefect flows."""
