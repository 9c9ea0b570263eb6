"""Where a checkout keeps what people write; imports nothing, so that commands can name it in their help."""

TARGETS_FILE = "deployments/targets.yaml"
