"""Rented machines: credentials, launch, what they run, teardown."""
