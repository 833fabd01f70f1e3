"""Whole searches replayed on the table of real trainings: what the same money finds, by which way of searching."""
