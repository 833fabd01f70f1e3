"""Trains one language model under a time budget and measures its bits per byte."""
