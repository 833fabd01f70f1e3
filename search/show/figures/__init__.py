"""Figures of a study, drawn with plotly."""
