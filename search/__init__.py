"""Decides which configuration to train, whether to go on and what to promote; talks to people."""
