"""Training and measuring outside a study: exports trained again, verified; models evaluated, merged; the recipe."""
