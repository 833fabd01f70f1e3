"""A result written down: export files, scripts, bundles with weights, and reading them back."""
