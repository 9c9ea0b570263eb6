"""One Prefect task per stage: calls the library, logs to MLflow, publishes Prefect artifacts."""
