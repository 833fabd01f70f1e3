"""Training and measuring outside a study: an export again, verified, evaluated; the recipe."""
