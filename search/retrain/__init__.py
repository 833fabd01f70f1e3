"""Training and measuring outside a study: exports trained again and verified, models evaluated, the recipe."""
