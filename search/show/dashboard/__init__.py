"""optuna-dashboard: the server, and the notes and figures that are stored for it."""
