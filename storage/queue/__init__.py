"""Trials as a queue that unreliable workers share."""
