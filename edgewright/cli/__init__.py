"""The `edgewright` command, one file per group of commands: the top floor, above flows."""
