"""Pruners tried on finished runs."""
