"""optuna-dashboard: serving it, and the notes and figures written into it."""
