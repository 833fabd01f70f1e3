"""The pages of docs/reference/ that are made from the code: study file, commands, figures, status --json."""
