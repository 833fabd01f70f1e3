"""A study: its file, its space, its two Optuna studies, its trials, results, cost and stored files."""
