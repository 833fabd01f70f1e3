"""Exports away from the project: ideas measured again by `python -m tests.exports`, other programs by `equality`."""
