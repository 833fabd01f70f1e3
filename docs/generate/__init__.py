"""The pages of docs/reference/ that are made from the code: study file, commands, exports, figures, status --json."""
