"""Exports where nothing else of the project is: `python -m tests.exports`, and `equality`, how far other programs are off."""
